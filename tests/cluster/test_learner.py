"""Runs the learner on a real SQLite log and store, with lessons that are a number to hit."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from cluster.announcements import Announcements
from cluster.config import SiteConfig
from cluster.learner import AtLeisure, MetaLearner, at_once
from cluster.learning_config import LearningConfig
from cluster.log.open import open_log
from cluster.log.sqlite.consumer import SqliteConsumer
from cluster.metrics import Metrics
from cluster.topics import Topics
from cluster.tracklet_watch import TrackletWatch
from models.learned import Backbones, VersionStore
from pipeline.learning.drift import DriftConfig, DriftWatch
from pipeline.learning.gate import GateConfig
from pipeline.learning.learning import Learning, Proposal
from pipeline.learning.lineage import Lineage, Standing
from pipeline.records import (
    FrameRef,
    ModelAnnouncement,
    TaskExample,
    TaskKind,
    TaskRecord,
    TrackletBatch,
    TrackletEvent,
    TrackletPhase,
    encode,
)
from pipeline.teaching import task_digest, task_id
from tests.pipeline.learning.test_learning import Guessing

TOPICS = Topics.with_prefix()
DIMENSION = 8


class Brightness(Guessing):
    """Its lessons are how bright the crops of a class are."""

    def study(self, task: TaskRecord):  # type: ignore[no-untyped-def]
        first = TaskExample(image=b"", label="0")
        lesson = Guessing.study(self, TaskRecord(**{**_fields(task), "examples": (first,)}))
        images = [np.asarray(Image.open(io.BytesIO(e.image))) for e in task.examples if e.label]
        return type(lesson)(lesson.task, lesson.kind, lesson.name, 1, float(np.mean(images)) / 50)


def _fields(task: TaskRecord) -> dict:
    return {name: getattr(task, name) for name in ("kind", "name", "digest", "taught_ns")}


def crop(brightness: int, label: str, *, query: bool = False, mark: int = 0) -> TaskExample:
    image = np.full((40, 20, 3), brightness, np.uint8)
    image[0, mark] = 255 - brightness
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95)
    return TaskExample(image=stream.getvalue(), label=label, query=query)


def task(name: str, brightness: int) -> TaskRecord:
    examples = tuple(
        crop(value, label, query=query, mark=mark)
        for mark, (value, label, query) in enumerate([
            (brightness, name, False), (brightness, name, True), (250, "", False), (250, "", True),
        ])
    )  # fmt: skip
    return TaskRecord(
        kind=TaskKind.CLASS, name=name, digest=task_digest(examples), taught_ns=1, examples=examples
    )


class Bench:
    def __init__(self, folder: Path, **learning: object) -> None:
        self.url = f"sqlite:///{folder}/site.db"
        self.log = open_log(self.url)
        self.log.create_topics(TOPICS.declare())
        self.store = VersionStore(folder / "models")
        self.site = SiteConfig(log=self.url, learning=LearningConfig(**learning))  # type: ignore[arg-type]
        self.now_s = 0.0
        self.reports: list[ModelAnnouncement] = []
        self.metrics = Metrics(CollectorRegistry())
        self.num_opened = 0

    def learner(self, kind: Guessing | None = None, gives_way: AtLeisure = at_once) -> MetaLearner:
        log = open_log(self.url)
        drift = DriftWatch(DriftConfig(window=20), np.random.default_rng(0))
        return MetaLearner(
            site=self.site, topics=TOPICS, log=log, open_learning=self._opening(kind or Brightness()),
            store=self.store, metrics=self.metrics, watch=TrackletWatch(log, TOPICS.tracklets, "e@1", drift),
            report=self.reports.append, at_leisure=gives_way, clock_s=lambda: self.now_s,
        )  # fmt: skip

    def _opening(self, kind: Guessing) -> Callable[[], Learning]:
        def open_learning() -> Learning:
            self.num_opened += 1
            backbones = Backbones(detector="d@1", embedder="e@1")
            return Learning({TaskKind.CLASS: kind}, backbones, GateConfig(), capacity=8)

        return open_learning

    def teach(self, *tasks: TaskRecord | bytes) -> None:
        with self.log.producer() as producer:
            for one in tasks:
                value = one if isinstance(one, bytes) else encode(one)
                key = b"?" if isinstance(one, bytes) else f"{one.kind.value}/{one.name}".encode()
                producer.produce(TOPICS.tasks, value, key=key)

    def lineage(self) -> Lineage:
        return Announcements(self.log, TOPICS.models).catch_up()

    def standings(self) -> list[Standing]:
        return [entry.standing for entry in self.lineage().history]


def run(learner: MetaLearner, at_least: int = 3) -> None:
    """Step until there is nothing to do for a while."""
    idle = 0
    while idle < at_least:
        idle = 0 if learner.step(0.05) else idle + 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, fold_every_tasks=99)


def test_a_task_from_the_log_becomes_the_version_served_and_is_reported(bench: Bench) -> None:
    courier = task("courier", 40)
    bench.teach(courier)
    learner = bench.learner()
    run(learner)
    learner.close()
    (report,) = bench.reports
    assert report.version == bench.lineage().current
    assert report.tasks == (task_id(courier),)
    assert report.scores[0].is_new
    version = bench.store.get(report.version, report.sha256)
    assert set(version.parts("class")) == {"courier"}


def test_what_computes_gives_way_and_what_speaks_to_the_log_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, fold_every_tasks=1)
    gives_way = threading.local()
    done: dict[str, set[bool]] = {}

    def note(what: str) -> None:
        done.setdefault(what, set()).add(getattr(gives_way, "now", False))

    def giving_way(work: Callable[[], Any]) -> Any:
        gives_way.now = True
        try:
            return work()
        finally:
            gives_way.now = False

    def noting(whole: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            note(whole.__name__)
            return whole(*arguments)

        return noted

    for owner, names in ((Brightness, ("study", "fit", "outer_loop")), (SqliteConsumer, ("commit",))):
        for name in names:
            monkeypatch.setattr(owner, name, noting(getattr(owner, name)))
    monkeypatch.setattr("cluster.announcements.Announcements.announce", noting(Announcements.announce))
    bench.teach(task("courier", 40))
    learner = bench.learner(gives_way=giving_way)
    run(learner)
    learner.close()
    assert {name: done[name] for name in ("study", "fit", "outer_loop")} == {
        "study": {True}, "fit": {True}, "outer_loop": {True}
    }  # fmt: skip
    assert {name: done[name] for name in ("commit", "announce")} == {"commit": {False}, "announce": {False}}


def test_the_networks_are_loaded_only_when_there_is_something_to_learn(bench: Bench) -> None:
    learner = bench.learner()
    run(learner)
    assert bench.num_opened == 0
    bench.teach(task("courier", 40))
    run(learner)
    assert bench.num_opened == 1
    learner.close()


def test_a_task_that_cannot_be_used_is_refused_in_the_log_with_its_reason_and_the_next_is_learned(
    bench: Bench,
) -> None:
    broken = task("courier", 40)
    bad = TaskRecord(**_fields(broken), examples=(broken.examples[0],))
    bench.teach(b"nonsense", bad, task("guard", 60))
    learner = bench.learner()
    run(learner)
    learner.close()
    refused, promoted = bench.lineage().history
    assert refused.standing is Standing.REJECTED
    assert task_id(bad) in refused.announcement.tasks
    assert "courier" in refused.why
    assert promoted.counted
    assert set(
        bench.store.get(promoted.announcement.version, promoted.announcement.sha256).parts("class")
    ) == {"guard"}


def test_a_learner_that_dies_before_it_commits_learns_nothing_twice(bench: Bench) -> None:
    bench.teach(task("courier", 40))
    first = bench.learner()
    first._consumer.commit = lambda offsets: None  # type: ignore[method-assign]  # dies before
    run(first)
    first.close()
    second = bench.learner()
    run(second)
    second.close()
    assert bench.standings() == [Standing.COUNTED]


def test_a_learner_begun_anew_goes_on_from_what_is_served_and_remembers_its_tasks(bench: Bench) -> None:
    bench.teach(task("courier", 40))
    first = bench.learner()
    run(first)
    first.close()
    bench.teach(task("guard", 60))
    second = bench.learner()
    run(second)
    second.close()
    lineage = bench.lineage()
    origin = lineage.origin
    assert origin is not None
    assert set(bench.store.get(origin.version, origin.sha256).parts("class")) == {"courier", "guard"}
    assert second._learning.num_lessons == 2


def test_of_two_learners_one_learns_and_the_other_takes_over_when_it_stops(bench: Bench) -> None:
    first, second = bench.learner(), bench.learner()
    for _ in range(5):
        first.step(0.05)
        second.step(0.05)
    assert sorted([first.num_partitions, second.num_partitions]) == [0, 1]
    active, waiting = (first, second) if first.num_partitions else (second, first)
    bench.teach(task("courier", 40))
    run(active)
    assert waiting.step(0.05) == 0
    active.close()
    bench.teach(task("guard", 60))
    while len(bench.lineage().history) < 2:
        waiting.step(0.05)
    waiting.close()
    assert bench.standings() == [Standing.COUNTED] * 2


def test_what_was_decided_against_a_version_that_is_no_longer_served_is_decided_again(bench: Bench) -> None:
    learner = bench.learner()
    bench.teach(task("courier", 40))
    run(learner)
    teach = learner._learning.teach

    def teach_while_somebody_rolls_back(*arguments: Any) -> Proposal:
        learner._learning.teach = teach  # type: ignore[method-assign]
        proposal = teach(*arguments)
        announcements = Announcements(open_log(bench.url), TOPICS.models)
        assert announcements.announce(announcements.catch_up().rollback("", at_ns=2)).counted
        return proposal

    learner._learning.teach = teach_while_somebody_rolls_back  # type: ignore[method-assign]
    bench.teach(task("guard", 60))
    run(learner)
    learner.close()
    assert bench.standings() == [Standing.COUNTED, Standing.COUNTED, Standing.VOID, Standing.COUNTED]
    origin = bench.lineage().origin
    assert origin is not None
    assert set(bench.store.get(origin.version, origin.sha256).parts("class")) == {"guard"}


def test_a_name_that_is_forgotten_is_served_no_longer(bench: Bench) -> None:
    courier = task("courier", 40)
    bench.teach(courier, task("guard", 60))
    learner = bench.learner()
    run(learner)
    bench.teach(TaskRecord(**_fields(courier)))
    run(learner)
    learner.close()
    origin = bench.lineage().origin
    assert origin is not None
    assert set(bench.store.get(origin.version, origin.sha256).parts("class")) == {"guard"}


def test_tasks_are_folded_once_there_are_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fold_every_tasks=2)
    learner = bench.learner()
    bench.teach(task("courier", 50))
    run(learner)
    assert len(bench.lineage().history) == 1
    bench.teach(task("guard", 50))
    run(learner)
    learner.close()
    origin = bench.lineage().origin
    assert origin is not None
    version = bench.store.get(origin.version, origin.sha256)
    assert version.initialization("class")["guess"] == pytest.approx(1.0, abs=0.05)
    assert len(bench.lineage().history) == 3


def test_few_tasks_are_folded_after_a_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fold_every_tasks=99, fold_every_s=60.0)
    learner = bench.learner()
    bench.teach(task("courier", 50))
    run(learner)
    bench.now_s = 61.0
    run(learner)
    learner.close()
    assert len(bench.lineage().history) == 2


def test_the_outer_loop_rests_while_serving_is_behind(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fold_every_tasks=1, rest_above_frames=5)
    with bench.log.producer() as producer:
        for _ in range(10):
            producer.produce(TOPICS.frames, b"frame", key=b"door")
    learner = bench.learner()
    bench.teach(task("courier", 50))
    run(learner)
    assert bench.standings() == [Standing.COUNTED]
    with bench.log.consumer(TOPICS.shard_group, [TOPICS.frames]) as shard:
        while not (records := shard.poll(10, 0.2)):
            pass
        shard.commit({record.topic_partition: record.offset + 1 for record in records})
    bench.now_s += 2.0
    run(learner)
    learner.close()
    assert len(bench.standings()) == 2


def test_drift_of_a_camera_starts_the_outer_loop(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fold_every_tasks=99)
    learner = bench.learner()
    bench.teach(task("courier", 50))
    run(learner)
    rng = np.random.default_rng(0)
    with bench.log.producer() as producer:
        for number in range(60):
            look = rng.standard_normal(DIMENSION) + (5.0 if number < 25 else -5.0)
            producer.produce(TOPICS.tracklets, encode(tracklets(number, look / np.linalg.norm(look))))
    bench.now_s += 2.0
    run(learner)
    learner.close()
    assert len(bench.lineage().history) == 2
    sample = bench.metrics.registry.get_sample_value
    assert sample("camweave_learning_drifts_total", {"camera": "door"}) == 1.0


def tracklets(number: int, look: np.ndarray) -> TrackletBatch:
    event = TrackletEvent(
        track=f"t{number}", phase=TrackletPhase.CONFIRMED, at_ns=number, start_ns=number, label="person",
        box=(0, 0, 1, 1), num_samples=4, embedding=look.astype("<f4").tobytes(), embedder="e@1", score=0.8,
    )  # fmt: skip
    ref = FrameRef(topic="frames", partition=0, offset=number)
    return TrackletBatch(camera="door", watermark_ns=number, frame=ref, events=(event,))


def test_a_served_version_whose_file_is_torn_stops_learning_and_nothing_else(bench: Bench) -> None:
    learner = bench.learner()
    bench.teach(task("courier", 40))
    run(learner)
    learner.close()
    origin = bench.lineage().origin
    assert origin is not None
    path = bench.store.folder / f"{origin.sha256}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    again = bench.learner()
    bench.teach(task("guard", 60))
    run(again)
    assert len(bench.lineage().history) == 1
    path.write_bytes(content)
    run(again)
    again.close()
    assert bench.standings() == [Standing.COUNTED] * 2
