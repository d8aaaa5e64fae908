"""Teaches sites through the command line, on either log, with a learner that only pretends to learn."""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from cluster.announcements import Announcements
from cluster.cli import build_parser, main
from cluster.config import read_site
from cluster.log.open import open_log
from cluster.log.protocol import Log, Topic
from cluster.teach import Verdict, list_taught, read_tasks
from cluster.teacher import Teacher
from cluster.topics import Topics
from models.files import write_atomically
from models.learned import name_of
from pipeline.errors import BadTask
from pipeline.frames import FrameHeader
from pipeline.learning.lineage import Lineage
from pipeline.records import (
    DecisionKind,
    FrameRef,
    FrameResult,
    IdentityDecision,
    ModelAnnouncement,
    Observation,
    TaskKind,
    TaskRecord,
    TaskScore,
    VersionAction,
    encode,
)
from pipeline.teaching import check_task, forget, make_task, read_crops, task_id
from tests.pipeline.teaching.examples import write

Capture = pytest.CaptureFixture[str]
SECOND = 1_000_000_000
WIDTH, HEIGHT = 320, 240


class Site:
    """Is a site's file and log, and runs `camweave teach` on it."""

    def __init__(self, folder: Path, log: str, prefix: str) -> None:
        self.folder = folder
        self.config = folder / "site.yaml"
        self.config.write_text(
            f"log: {log}\ntopic_prefix: '{prefix}'\ncameras: [{{id: door}}, {{id: yard}}]\n"
            f"learning: {{store: {folder}/models}}\n"
        )
        self.log: Log = open_log(log)
        self.topics = Topics.with_prefix(prefix)

    def teach(self, *arguments: object) -> int:
        return main(["teach", *map(str, arguments), "--config", str(self.config)])

    def result(self, capsys: Capture, *arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert self.teach(*arguments, "--json") == code, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    def error(self, capsys: Capture, *arguments: object) -> str:
        capsys.readouterr()
        assert self.teach(*arguments) == 1
        return capsys.readouterr().err

    @property
    def tasks(self) -> dict[tuple[TaskKind, str], TaskRecord]:
        return read_tasks(self.log, self.topics.tasks)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on either log."""
    url = f"sqlite:///{tmp_path}/site.db"
    if request.param == "kafka":
        url = f"kafka://{request.getfixturevalue('kafka')}"
    site = Site(tmp_path, url, f"t{uuid.uuid4().hex[:8]}-")
    yield site
    site.log.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site on the embedded log."""
    return Site(tmp_path, f"sqlite:///{tmp_path}/site.db", "")


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return crops_of(tmp_path / "crops", "courier", 3)


def crops_of(root: Path, name: str, num: int) -> Path:
    for side, folder in enumerate((name, "_other")):
        for number in range(num):
            write(root / folder / f"{number}.jpg", 100 * side + number)
    return root


Answer = Callable[[Lineage, TaskRecord], ModelAnnouncement]


class Learner:
    """Answers each task that comes, as a learner would after having learned it."""

    def __init__(self, site: Site, answer: Answer) -> None:
        self._site = site
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._site.log.create_topics(self._site.topics.declare_learning())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        log = open_log(self._site.log.url)
        announcements = Announcements(log, self._site.topics.models)
        done: set[str] = set()
        while not self._stop.wait(0.05):
            for task in read_tasks(log, self._site.topics.tasks).values():
                if task_id(task) not in done:
                    done.add(task_id(task))
                    announcements.announce(self._answer(announcements.catch_up(), task))
        log.close()


def announcement(
    lineage: Lineage,
    tasks: Sequence[str],
    action: VersionAction,
    scores: tuple[TaskScore, ...] = (),
    reason: str = "",
) -> ModelAnnouncement:
    sha256 = hashlib.sha256(f"{tasks} {lineage.serial}".encode()).hexdigest()
    return msgspec.structs.replace(
        lineage.promotion(at_ns=time.time_ns()), action=action, version=name_of(sha256), sha256=sha256,
        tasks=tuple(tasks), scores=scores, reason=reason,
    )  # fmt: skip


def score(task: TaskRecord, before: float, after: float, *, is_new: bool = True) -> TaskScore:
    return TaskScore(
        kind=task.kind, name=task.name, scores={"current": before, "prototypes": after}, chosen="prototypes",
        num_queries=2, is_new=is_new,
    )  # fmt: skip


def promote(lineage: Lineage, task: TaskRecord) -> ModelAnnouncement:
    others = [one for one in (lineage.origin.tasks if lineage.origin else ()) if task.name not in one]
    return announcement(lineage, [*others, task_id(task)], VersionAction.PROMOTED, (score(task, 0.5, 1.0),))


def reject(lineage: Lineage, task: TaskRecord) -> ModelAnnouncement:
    scores = (score(task, 0.5, 0.25),)
    return announcement(lineage, [task_id(task)], VersionAction.REJECTED, scores, "worse by 25 points")


def test_a_class_is_taught_and_the_verdict_told(any_site: Site, crops: Path, capsys: Capture) -> None:
    with Learner(any_site, promote):
        told = any_site.result(capsys, "class", "courier", "--crops", crops)
    (task,) = any_site.tasks.values()
    check_task(task)
    (one,) = told["tasks"]
    assert (one["task"], one["verdict"]) == (task_id(task), "promoted")
    assert (one["before"], one["after"], one["method"]) == (0.5, 1.0, "prototypes")
    assert (one["examples"], one["held_out"]) == (6, 2)
    assert one["version"].startswith("learned@")
    listed = any_site.result(capsys, "list")
    assert {name: row["verdict"] for name, row in listed.items()} == {task_id(task): "promoted"}
    assert any_site.teach("list") == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if "courier" in line]
    assert (row[:3], row[-3:]) == (["class", "courier", "6"], ["promoted", "0.500", "1.000"])


def test_the_last_record_of_a_kind_and_name_holds_until_it_is_forgotten(any_site: Site, crops: Path) -> None:
    log, topic = any_site.log, any_site.topics.tasks
    courier = make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=1)
    write(crops / "courier" / "9.jpg", 9)
    anew = make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=2)
    with Teacher(read_site(any_site.config)) as teacher:
        teacher.teach([courier])
        teacher.teach([anew], replace=True)
        assert any_site.tasks == {(TaskKind.CLASS, "courier"): anew}
        with log.producer() as producer:
            producer.produce(topic, b"no task", key=b"class/broken")
        (listed,) = list_taught(log, topic).values()
        assert (listed.id, listed.num_examples, listed.num_queries) == (task_id(anew), 7, 2)
        teacher.forget("courier", now_ns=3)
        assert any_site.tasks == {}
        assert teacher.outcomes() == []
        teacher.teach([courier])
    assert any_site.tasks == {(TaskKind.CLASS, "courier"): courier}


def test_a_rejection_is_told_with_its_reason(site: Site, crops: Path, capsys: Capture) -> None:
    with Learner(site, reject):
        assert site.teach("class", "courier", "--crops", crops) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "is rejected: worse by 25 points; what is served has not changed" in told


def test_a_promotion_is_told_with_the_scores_before_and_after(
    site: Site, crops: Path, capsys: Capture
) -> None:
    with Learner(site, promote):
        assert site.teach("class", "courier", "--crops", crops) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "(6 examples, 2 of them held out) is learned, and served as learned@" in told
    assert told.endswith(": scores 1.000 on the held-out examples, 0.500 before")


def test_without_a_learner_it_says_so_plainly(site: Site, crops: Path, capsys: Capture) -> None:
    assert site.teach("class", "courier", "--crops", crops, "--wait", "0.3") == 1
    told = capsys.readouterr().out
    assert "is in the log, and waits for a learner" in told
    assert (
        f"no learner has answered within 0.3 s: is the site running (camweave run --config {site.config})"
        in told
    )
    assert len(site.tasks) == 1
    assert (
        site.teach("class", "guard", "--crops", crops_of(site.folder / "guards", "guard", 3), "--no-wait")
        == 0
    )
    assert "no learner" not in capsys.readouterr().out
    listed = site.result(capsys, "list")
    assert [row["verdict"] for row in listed.values()] == ["waiting", "waiting"]


def test_another_task_s_verdict_is_not_taken_for_this_one_s(site: Site, crops: Path) -> None:
    courier = make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=1)
    guards = crops_of(site.folder / "guards", "guard", 4)
    guard = make_task(TaskKind.CLASS, "guard", read_crops(guards, "guard"), taught_ns=2)
    with Teacher(read_site(site.config)) as teacher:
        announcements = Announcements(site.log, site.topics.models)

        def learn(*_: object) -> None:
            lineage = announcements.catch_up()
            if not lineage.history:
                announcements.announce(promote(lineage, courier))
            elif len(lineage.history) == 1:
                # The candidate for another task names the first one too, as one of those that it leaves as they are.
                scores = (score(guard, 0.5, 0.4), score(courier, 1.0, 1.0, is_new=False))
                tasks = [task_id(courier), task_id(guard)]
                announcements.announce(announcement(lineage, tasks, VersionAction.REJECTED, scores))

        outcomes = teacher.teach([courier, guard], wait_s=10, waiting=learn)
        assert [one.verdict for one in outcomes] == [Verdict.PROMOTED, Verdict.REJECTED]
        assert {one.task.name: one.verdict for one in teacher.outcomes()} == {
            "courier": Verdict.PROMOTED, "guard": Verdict.REJECTED,
        }  # fmt: skip
        announcements.announce(announcements.catch_up().rollback("", at_ns=3))
        assert {one.task.name: one.verdict for one in teacher.outcomes()} == {
            "courier": Verdict.WITHDRAWN, "guard": Verdict.REJECTED,
        }  # fmt: skip


def test_a_learner_that_came_too_late_is_not_heard(site: Site, crops: Path) -> None:
    task = make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=1)
    with Teacher(read_site(site.config)) as teacher:
        announcements = Announcements(site.log, site.topics.models)

        def learn(*_: object) -> None:
            lineage = announcements.catch_up()
            if not lineage.history:
                announcements.announce(announcement(lineage, ["class/other/1"], VersionAction.PROMOTED))
                announcements.announce(promote(lineage, task))  # against what is no longer served
                assert len(announcements.lineage.history) == 2

        (outcome,) = teacher.teach([task], wait_s=0.6, waiting=learn)
    assert outcome.verdict is Verdict.WAITING


def test_what_is_served_already_needs_no_answer(site: Site, crops: Path, capsys: Capture) -> None:
    with Learner(site, promote):
        site.result(capsys, "class", "courier", "--crops", crops)
    started_s = time.monotonic()
    told = site.result(capsys, "class", "courier", "--crops", crops, "--replace")
    assert time.monotonic() - started_s < 20
    assert told["tasks"][0]["verdict"] == "promoted"


def test_names_in_use_are_refused_and_nothing_reaches_the_log(
    site: Site, crops: Path, capsys: Capture
) -> None:
    people = crops_of(site.folder / "people", "Person", 3)
    assert "the detector knows a class 'person' already" in site.error(
        capsys, "class", "Person", "--crops", people
    )
    assert site.teach("class", "courier", "--crops", crops, "--no-wait") == 0
    message = site.error(capsys, "class", "courier", "--crops", crops, "--no-wait")
    assert "'courier' was taught already (class/courier/" in message
    assert "--replace" in message
    assert site.teach("class", "courier", "--crops", crops, "--no-wait", "--replace") == 0
    assert len(list(site.log.read(site.topics.tasks))) == 1


def test_what_is_forgotten_leaves_what_is_served(site: Site, crops: Path, capsys: Capture) -> None:
    with Learner(site, promote):
        site.result(capsys, "class", "courier", "--crops", crops)
    with Teacher(read_site(site.config)) as teacher:
        announcements = Announcements(site.log, site.topics.models)

        def learn(*_: object) -> None:
            lineage = announcements.catch_up()
            if len(lineage.history) == 1:
                announcements.announce(announcement(lineage, [], VersionAction.PROMOTED))

        assert teacher.forget("courier", now_ns=1, wait_s=10, waiting=learn).verdict is Verdict.PROMOTED
    assert site.tasks == {}
    assert site.result(capsys, "list") == {}


def test_forgetting_without_a_learner_waits_and_says_so(site: Site, crops: Path, capsys: Capture) -> None:
    with Learner(site, promote):
        site.result(capsys, "class", "courier", "--crops", crops)
    assert site.teach("forget", "courier", "--wait", "0.3") == 1
    told = capsys.readouterr().out
    assert "class 'courier' is to be forgotten" in told
    assert "no learner has answered within 0.3 s" in told


def test_only_what_was_taught_can_be_forgotten(site: Site, crops: Path, capsys: Capture) -> None:
    assert "nothing was taught under the name 'courier'; there is nothing" in site.error(
        capsys, "forget", "courier"
    )
    assert (
        site.teach("class", "door", "--crops", crops_of(site.folder / "doors", "door", 3), "--no-wait") == 0
    )
    pairs(site.folder / "pairs")
    assert site.teach("camera", "door", "--pairs", site.folder / "pairs", "--number", "2", "--no-wait") == 0
    assert "say which one to forget, --kind class or --kind camera" in site.error(capsys, "forget", "door")
    assert site.teach("forget", "door", "--kind", "camera") == 0
    assert set(site.tasks) == {(TaskKind.CLASS, "door")}
    assert "there is 'door' (class)" in site.error(capsys, "forget", "window")


def pairs(root: Path) -> Path:
    for who in range(1, 5):
        for camera in (1, 2):
            write(root / f"{who:04d}_c{camera}s1_{who:06d}_01.jpg", 10 * who + camera)
    return root


def test_a_camera_is_taught_by_pairs_and_must_be_one_of_the_site(site: Site, capsys: Capture) -> None:
    folder = pairs(site.folder / "pairs")
    told = site.result(capsys, "camera", "yard", "--pairs", folder, "--number", 2, "--no-wait")
    assert told["tasks"][0]["task"].startswith("camera/yard/")
    (task,) = site.tasks.values()
    assert {one.camera for one in task.examples} == {"yard", "1"}
    assert "unknown camera 'yart'; did you mean 'yard'?" in site.error(
        capsys, "camera", "yart", "--pairs", folder, "--number", 2
    )


def test_a_class_that_the_detector_lacks_is_taught_by_pictures_with_boxes(
    site: Site, capsys: Capture
) -> None:
    for number in range(3):
        write(site.folder / "zoo" / f"{number}.jpg", number, 60, 40)
        (site.folder / "zoo" / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.jpg</filename><object><name>procyon</name><bndbox><xmin>3</xmin>"
            "<ymin>4</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"
        )
    zoo = site.folder / "zoo"
    assert "no box in" in site.error(capsys, "detection", "raccoon", "--voc", zoo)
    told = site.result(capsys, "detection", "raccoon", "--voc", zoo, "--label", "procyon", "--no-wait")
    assert (told["tasks"][0]["kind"], told["tasks"][0]["examples"], told["tasks"][0]["held_out"]) == (
        "detection",
        3,
        1,
    )
    (task,) = site.tasks.values()
    assert {one.boxes for one in task.examples} == {((2.0, 3.0, 30.0, 20.0),)}
    assert site.error(capsys, "detection", "raccoon", "--coco", zoo).startswith("camweave: ")
    assert site.error(capsys, "detection", "raccoon", "--cvat", zoo).startswith("camweave: ")


def test_bad_examples_end_with_one_clear_sentence_and_nothing_in_the_log(
    site: Site, crops: Path, capsys: Capture
) -> None:
    (crops / "courier" / "1.jpg").write_bytes(b"no picture")
    assert site.teach("class", "courier", "--crops", crops, "--json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"] == "BadTask"
    assert "courier/1.jpg" in printed.err
    assert site.result(capsys, "list") == {}


# Corrections: a site whose log holds frames of people, each in a colour of their own, and what was seen in them.

COLOURS = {"red": (30, 30, 220), "blue": (220, 30, 30), "green": (30, 200, 30), "white": (230, 230, 230)}
PEOPLE = [
    ("door", "red"), ("door", "blue"), ("door", "green"), ("door", "white"),
    ("yard", "red"), ("yard", "blue"), ("yard", "green"), ("yard", "white"),
]  # fmt: skip
NUM_FRAMES = 6


def track_of(camera: str, colour: str) -> str:
    return f"{camera}:0-{[*COLOURS].index(colour)}-0"


def box_of(colour: str) -> tuple[float, float, float, float]:
    left = 20.0 + 70 * [*COLOURS].index(colour)
    return left, 40.0, left + 40, 140.0


def frame_of(camera: str, second: int) -> bytes:
    """A dark picture with everybody in it, a little lighter every second."""
    picture = np.full((HEIGHT, WIDTH, 3), 8 * second, np.uint8)
    for colour, value in COLOURS.items():
        left, top, right, bottom = (int(side) for side in box_of(colour))
        picture[top:bottom, left:right] = value
        belt = top + second + {"door": 5, "yard": 60}[camera]
        picture[belt : belt + 10, left:right] = 0
    return bytes(cv2.imencode(".jpg", picture)[1])


def results() -> Iterator[FrameResult]:
    for partition, camera in enumerate(("door", "yard")):
        for second in range(NUM_FRAMES):
            seen = tuple(
                Observation(box=box_of(colour), score=0.9, label="person", track=track_of(camera, colour))
                for colour in COLOURS
            )
            yield FrameResult(
                frame=FrameRef(topic="frames", partition=partition, offset=second), camera=camera, sequence=second,
                captured_ns=second * SECOND, width=WIDTH, height=HEIGHT, model_version="m", observations=seen,
            )  # fmt: skip


def header_of(camera: str, second: int) -> FrameHeader:
    return FrameHeader(
        camera=camera, sequence=second, captured_ns=second * SECOND, produced_ns=second * SECOND, epoch=1,
        width=WIDTH, height=HEIGHT,
    )  # fmt: skip


def fill_frames(log: Log) -> None:
    log.create_topics([Topic(name="frames", num_partitions=2)])
    with log.producer() as producer:
        for partition, camera in enumerate(("door", "yard")):
            for second in range(NUM_FRAMES):
                headers = header_of(camera, second).to_headers()
                producer.produce("frames", frame_of(camera, second), headers=headers, partition=partition)


@pytest.fixture
def busy_site(site: Site) -> Site:
    fill_frames(site.log)
    site.log.create_topics(
        [Topic(name="tracks", num_partitions=4), Topic(name="identities", num_partitions=1)]
    )
    with site.log.producer() as producer:
        for result in results():
            producer.produce("tracks", encode(result), key=result.camera.encode())
    return site


def written(site: Site, *lines: dict[str, object]) -> Path:
    path = site.folder / "fixed.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


CORRECTIONS = (
    {"track": track_of("door", "red"), "class": "courier"},
    {"track": track_of("yard", "red"), "class": "courier"},
    {"track": track_of("door", "blue"), "class": ""},
    {"track": track_of("yard", "green"), "class": ""},
    {"same": [track_of("door", "red"), track_of("yard", "red")]},
    {"same": [track_of("door", "white"), track_of("yard", "white")]},
)


def mean_colour(jpeg: bytes) -> str:
    mean = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda colour: float(np.abs(mean - COLOURS[colour]).sum()))


@pytest.mark.parametrize("place", ["site", "run"])
def test_corrections_become_tasks_with_the_crops_of_their_tracks(
    busy_site: Site, capsys: Capture, place: str, tmp_path: Path
) -> None:
    where: list[object] = []
    if place == "run":
        run = tmp_path / "run"
        write_atomically(run / "tracks.jsonl", b"\n".join(map(encode, results())))
        write_atomically(run / "identities.jsonl", encode(DECISION))
        fill_frames(open_log(f"sqlite:///{run}/log.db"))
        where = ["--run", run]
    told = busy_site.result(capsys, "corrections", written(busy_site, *CORRECTIONS), *where, "--no-wait")
    assert {one["task"].rpartition("/")[0] for one in told["tasks"]} == {
        "class/courier",
        "camera/door",
        "camera/yard",
    }
    courier = busy_site.tasks[TaskKind.CLASS, "courier"]
    assert {(one.label, mean_colour(one.image)) for one in courier.examples} == {
        ("courier", "red"), ("", "blue"), ("", "green"),
    }  # fmt: skip
    with Image.open(write_to(tmp_path / "crop.jpg", courier.examples[0].image)) as crop:
        assert crop.size == (40, 100)  # as the networks see it, without a margin
    door = busy_site.tasks[TaskKind.CAMERA, "door"]
    assert {(one.label, one.camera, mean_colour(one.image)) for one in door.examples} == {
        (track_of("door", colour), camera, colour)
        for colour in ("red", "white")
        for camera in ("door", "yard")
    }
    for task in busy_site.tasks.values():
        check_task(task)


DECISION = IdentityDecision(
    track=track_of("door", "red"), camera="door", identity="id-1", kind=DecisionKind.NEW, at_ns=1, start_ns=0,
    label="person",
)  # fmt: skip


def write_to(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_one_camera_alone_is_taught_by_corrections_too(busy_site: Site, capsys: Capture) -> None:
    told = busy_site.result(
        capsys, "camera", "yard", "--corrections", written(busy_site, *CORRECTIONS), "--no-wait"
    )
    assert [one["kind"] for one in told["tasks"]] == ["camera"]
    assert set(busy_site.tasks) == {(TaskKind.CAMERA, "yard")}
    message = busy_site.error(
        capsys, "camera", "door", "--corrections", written(busy_site, CORRECTIONS[0]), "--no-wait"
    )
    assert "no line says of a track in 'door' and of one in another camera that they are the same" in message


def test_cameras_with_too_few_pairs_are_left_out_with_the_reason(busy_site: Site, capsys: Capture) -> None:
    told = busy_site.result(capsys, "corrections", written(busy_site, *CORRECTIONS[:5]), "--no-wait")
    assert [one["kind"] for one in told["tasks"]] == ["class"]
    assert set(told["left_out"]) == {"camera/door", "camera/yard"}
    assert "hold out all crops of a person or none, of at least two people" in told["left_out"]["camera/door"]
    message = busy_site.error(capsys, "corrections", written(busy_site, CORRECTIONS[4]), "--no-wait")
    assert "teaches nothing" in message


def test_a_track_that_nobody_saw_or_whose_frames_are_gone_is_named(busy_site: Site, capsys: Capture) -> None:
    lost = written(busy_site, *CORRECTIONS, {"track": "door:0-99-0", "class": ""})
    assert "shows a track 'door:0-99-0'; give its name as results have it" in busy_site.error(
        capsys, "corrections", lost
    )
    busy_site.log.create_topics([Topic(name="frames", num_partitions=2, retention_bytes=1)])
    with busy_site.log.producer() as producer:
        producer.produce("frames", b"the newest, which is kept", partition=0)
    message = busy_site.error(capsys, "corrections", written(busy_site, *CORRECTIONS))
    assert f"none of the frames that show track {track_of('door', 'red')!r} is kept" in message


@pytest.mark.parametrize("what", ["class", "detection", "camera", "corrections", "list", "forget"])
def test_each_command_s_help_shows_it_in_use(capsys: Capture, what: str) -> None:
    with pytest.raises(SystemExit):
        main(["teach", what, "--help"])
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"camweave teach {what} " in examples
    for line in examples.strip().splitlines():
        words = line.strip().removeprefix("camweave ").split("    ")[0].split()
        assert build_parser().parse_args([*words, "--json"]).json is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["class", "x"], ["class", "x", "--crops", "d", "--wait", "1", "--no-wait"], ["detection", "x"],
        ["detection", "x", "--voc", "a", "--coco", "b"], ["camera", "x"],
        ["camera", "x", "--pairs", "a", "--corrections", "b"], ["camera", "x", "--pairs", "a", "--own-tracks"], ["forget"], ["corrections"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_makes_no_sense_is_misuse(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["teach", *arguments, "--config", "site.yaml"])
    assert ended.value.code == 2


def test_a_forgotten_task_is_no_error_to_a_reader(site: Site) -> None:
    with Teacher(read_site(site.config)) as teacher, pytest.raises(BadTask, match="nothing was taught"):
        teacher.forget("courier", now_ns=1)
    with site.log.producer() as producer:
        record = forget(TaskKind.CLASS, "courier", taught_ns=1)
        producer.produce(site.topics.tasks, encode(record), key=b"class/courier")
    assert site.tasks == {}
