"""Publishes and follows versions over real SQLite logs, as several learners and followers do."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cluster.announcements import Announcements, Published, publish
from cluster.errors import BadConfig, LogUnavailable
from cluster.log import Topic
from cluster.log.open import open_log
from cluster.log.sqlite import SqliteLog
from cluster.metrics import Metrics
from cluster.model_feed import LONGEST_RETRY_S, ModelFeed, ServedVersion
from cluster.topics import Topics
from models.errors import ModelError, VersionMissing, VersionUnwritable
from models.learned import LearnedVersion, VersionStore, describe
from pipeline.errors import BadInput
from pipeline.learning.lineage import Standing
from pipeline.records import ModelAnnouncement, VersionAction
from tests.models.learned.examples import learned


class Site:
    """Is a log with topic `models` and a store of versions, and opens what each process of a site opens."""

    def __init__(self, folder: Path, url: str = "", prefix: str = "") -> None:
        self.url = url or f"sqlite:///{folder}/site.db"
        self.topics = Topics.with_prefix(prefix)
        self.store = VersionStore(folder / "models")
        self.log = open_log(self.url)
        self.log.create_topics(self.topics.declare_learning())
        self.now_s = 0.0

    def announcements(self) -> Announcements:
        return Announcements(open_log(self.url), self.topics.models)

    def feed(self, on_change: Callable[[ServedVersion], None] | None = None) -> ModelFeed:
        return ModelFeed(
            announcements=self.announcements(), store=self.store, metrics=Metrics(CollectorRegistry()),
            on_change=on_change, clock_s=lambda: self.now_s,
        )  # fmt: skip

    def learn(self, value: float, action: VersionAction = VersionAction.PROMOTED) -> Published:
        """Learn from what is served now, and publish."""
        announcements = self.announcements()
        lineage = announcements.catch_up()
        promoted = action is VersionAction.PROMOTED
        draft = lineage.promotion(at_ns=1) if promoted else lineage.rejection(at_ns=1, reason="worse")
        return publish(announcements, self.store, learned(value, parent=lineage.current), draft)

    def roll_back(self, version: str) -> None:
        announcements = self.announcements()
        assert announcements.announce(announcements.catch_up().rollback(version, at_ns=2)).counted

    def file_of(self, published: Published) -> Path:
        return self.store.folder / f"{published.stored.sha256}.safetensors"

    def produce(self, value: bytes) -> None:
        with self.log.producer() as producer:
            producer.produce(self.topics.models, value, key=value[:4])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def errors_of(feed: ModelFeed, cause: str) -> float:
    return (
        feed._metrics.registry.get_sample_value("camweave_model_feed_errors_total", {"cause": cause}) or 0.0
    )


def weight_of(served: ServedVersion) -> float:
    assert served.learned is not None
    return float(served.learned.arrays["class/courier/weight"][0])


def test_a_version_is_written_announced_heard_and_served(site: Site) -> None:
    feed = site.feed()
    assert feed.load_current() == ServedVersion()
    published = site.learn(1.0)
    assert published.heard
    served = feed.step()
    assert (served.name, served.serial, weight_of(served)) == (published.stored.name, 1, 1.0)
    assert feed._metrics.registry.get_sample_value("camweave_model_serial") == 1
    told = published.entry.announcement
    assert (told.tasks, told.num_bytes) == (("class courier 0a1b",), site.file_of(published).stat().st_size)


def test_a_restarted_process_serves_what_was_served(site: Site) -> None:
    for value in (1.0, 2.0, 3.0):
        site.learn(value)
    restarted = site.feed().load_current()
    assert (restarted.serial, weight_of(restarted)) == (3, 3.0)


def test_of_two_learners_at_once_one_is_heard_and_every_reader_knows_which(site: Site) -> None:
    start = threading.Barrier(2)
    published: dict[float, Published] = {}

    def learn(value: float) -> None:
        announcements = site.announcements()
        draft = announcements.catch_up().promotion(at_ns=1)
        start.wait()
        published[value] = publish(announcements, site.store, learned(value), draft)

    learners = [threading.Thread(target=learn, args=(value,)) for value in (1.0, 2.0)]
    for learner in learners:
        learner.start()
    for learner in learners:
        learner.join()
    (winner,) = [value for value, outcome in published.items() if outcome.heard]
    assert {outcome.entry.standing for outcome in published.values()} == {Standing.COUNTED, Standing.VOID}
    assert [weight_of(site.feed().load_current()) for _ in range(2)] == [winner] * 2
    assert site.announcements().catch_up().serial == 1


@pytest.mark.kafka
def test_on_kafka_too_one_of_two_learners_is_heard_followed_and_rolled_back(
    kafka: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, f"kafka://{kafka}", f"feed-{uuid.uuid4().hex[:8]}-")
    mine, yours = site.announcements(), site.announcements()
    drafts = [announcements.catch_up().promotion(at_ns=1) for announcements in (mine, yours)]
    assert publish(mine, site.store, learned(1.0), drafts[0]).heard
    assert not publish(yours, site.store, learned(2.0), drafts[1]).heard
    feed = site.feed()
    assert weight_of(feed.load_current()) == 1.0
    assert site.learn(3.0).heard
    assert weight_of(feed.step()) == 3.0
    site.roll_back(feed._announcements.lineage.previous)
    assert (feed.step().serial, weight_of(feed.served)) == (3, 1.0)


def test_two_learners_that_never_stop_never_make_two_readers_differ(site: Site) -> None:
    def learn(seed: int) -> None:
        for number in range(12):
            site.learn(seed + number)

    learners = [threading.Thread(target=learn, args=(seed,)) for seed in (100, 200)]
    feed = site.feed()
    seen: list[ServedVersion] = []
    for learner in learners:
        learner.start()
    while any(learner.is_alive() for learner in learners):
        seen.append(feed.step())
    for learner in learners:
        learner.join()
    seen.append(feed.step())
    history = site.announcements().catch_up().history
    counted = {entry.announcement.serial: entry.announcement.version for entry in history if entry.counted}
    assert len(history) == 24
    assert [served.serial for served in seen] == sorted(served.serial for served in seen)
    assert all(served.name == counted[served.serial] for served in seen if served.serial)
    assert site.feed().load_current().name == seen[-1].name == counted[max(counted)]


def test_a_batch_keeps_its_version_while_the_next_one_is_swapped_in(site: Site) -> None:
    feed = site.feed()
    first = site.learn(1.0)
    held = feed.step()
    site.learn(2.0)
    assert weight_of(feed.step()) == 2.0
    assert (held.name, weight_of(held)) == (first.stored.name, 1.0)


def test_the_thread_follows_and_a_reader_never_sees_half_a_swap(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.model_feed.FOLLOW_EVERY_S", 0.05)
    values = {describe(learned(0.0)).name: 0.0}
    stop = threading.Event()
    torn: list[ServedVersion] = []

    with site.feed() as feed:

        def read() -> None:
            while not stop.wait(0.0005):  # leaves the interpreter to the others between two looks
                served = feed.served
                if served.learned is not None and describe(served.learned).name != served.name:
                    torn.append(served)

        reader = threading.Thread(target=read)
        reader.start()
        feed.start()
        for value in (1.0, 2.0):
            values[site.learn(value).stored.name] = value
            _wait_until_served(feed, value)
        stop.set()
        reader.join()
    assert torn == []
    assert values[feed.served.name] == 2.0


def _wait_until_served(feed: ModelFeed, value: float) -> None:
    _wait_until(lambda: feed.served.learned is not None and weight_of(feed.served) == value)


def _wait_until(true: Callable[[], bool], patience_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not come true"
        time.sleep(0.02)


def test_a_rejected_version_is_listed_and_never_served_nor_written(site: Site) -> None:
    site.learn(1.0)
    refused = site.learn(2.0, VersionAction.REJECTED)
    assert (refused.heard, refused.entry.standing) == (False, Standing.REJECTED)
    assert weight_of(site.feed().load_current()) == 1.0
    assert refused.stored.name not in site.store.names()
    lineage = site.announcements().catch_up()
    assert [entry.standing for entry in lineage.history] == [Standing.COUNTED, Standing.REJECTED]
    assert lineage.history[-1].announcement.version == refused.stored.name


def test_a_rollback_is_followed_and_so_is_one_to_none(site: Site) -> None:
    feed = site.feed()
    first = site.learn(1.0)
    site.learn(2.0)
    feed.step()
    site.roll_back(first.stored.name)
    assert (feed.step().serial, weight_of(feed.served)) == (3, 1.0)
    site.roll_back("")
    assert feed.step() == ServedVersion("", 4, None)
    assert feed.load_current() == ServedVersion("", 4, None)


def test_what_was_away_and_is_back_between_two_looks_is_not_loaded_again(site: Site) -> None:
    changes: list[ServedVersion] = []
    feed = site.feed(on_change=changes.append)
    first = site.learn(1.0)
    feed.step()
    site.learn(2.0)
    site.roll_back(first.stored.name)
    site.file_of(first).unlink()
    assert (feed.step().serial, weight_of(feed.served)) == (3, 1.0)
    assert len(changes) == 1


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "missing": ("missing", lambda _: None),
    "torn": ("corrupt", lambda content: content[: len(content) // 2]),
    "tampered": ("corrupt", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "header of no end": ("corrupt", lambda content: (1 << 60).to_bytes(8, "little") + content[8:]),
}


@pytest.mark.parametrize(("cause", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_version_that_cannot_be_read_is_not_served_until_it_can(
    site: Site, cause: str, damage: Callable[[bytes], bytes | None]
) -> None:
    feed = site.feed()
    first = site.learn(1.0)
    feed.step()
    path = site.file_of(second := site.learn(2.0))
    whole = path.read_bytes()
    path.unlink()
    if (broken := damage(whole)) is not None:
        path.write_bytes(broken)
    for _ in range(3):  # looked at once: the others wait
        assert feed.step().name == first.stored.name
    assert errors_of(feed, cause) == 1
    assert feed._metrics.registry.get_sample_value("camweave_model_serial") == 1
    path.write_bytes(whole)
    site.now_s += 1.5
    assert (feed.step().name, feed.served.serial) == (second.stored.name, 2)
    assert errors_of(feed, cause) == 1


def test_tries_come_ever_later_up_to_a_minute_and_at_once_for_another_version(site: Site) -> None:
    feed = site.feed()
    site.file_of(site.learn(1.0)).unlink()
    tried_s = []
    for _ in range(400):
        before = errors_of(feed, "missing")
        feed.step()
        if errors_of(feed, "missing") > before:
            tried_s.append(site.now_s)
        site.now_s += 1
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(tried_s)]
    assert gaps_s[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps_s[6:]) == {LONGEST_RETRY_S}
    site.learn(2.0)
    assert weight_of(feed.step()) == 2.0


def test_at_the_start_a_version_that_cannot_be_read_leaves_the_networks_alone_until_it_can(
    site: Site,
) -> None:
    path = site.file_of(site.learn(1.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:99])
    feed = site.feed()
    assert feed.load_current() == ServedVersion()
    path.write_bytes(whole)
    site.now_s += 1.5
    assert weight_of(feed.step()) == 1.0


def test_who_applies_a_version_may_refuse_it_and_the_one_before_stays(site: Site) -> None:
    def refuse_two(served: ServedVersion) -> None:
        if weight_of(served) == 2.0:
            raise ModelError("a head of 4 numbers for an embedding of 256")

    feed = site.feed(on_change=refuse_two)
    site.learn(1.0)
    feed.step()
    site.learn(2.0)
    assert weight_of(feed.step()) == 1.0
    assert errors_of(feed, "refused") == 1
    site.learn(3.0)
    assert weight_of(feed.step()) == 3.0


def test_while_the_log_is_away_what_is_served_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = site.feed()
    site.learn(1.0)
    feed.step()
    site.learn(2.0)

    def away(*_: object) -> Any:
        raise LogUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "end_offsets", away)
        assert weight_of(feed.step()) == 1.0
        assert errors_of(feed, "log") == 1
        with pytest.raises(LogUnavailable):
            site.feed().load_current()  # at the start the caller has to know
    assert weight_of(feed.step()) == 2.0


def test_a_log_that_dies_in_the_middle_of_reading_is_read_on_from_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1.0, 2.0, 3.0):
        site.learn(value)
    whole_read = SqliteLog.read

    def dying(log: SqliteLog, *where: Any) -> Iterator[Any]:
        records = iter(whole_read(log, *where))
        yield next(records)
        raise LogUnavailable("died")

    feed = site.feed()
    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "read", dying)
        assert [weight_of(feed.step()) for _ in range(2)] == [1.0, 2.0]
    assert weight_of(feed.step()) == 3.0
    assert len(feed._announcements.lineage.history) == 3


def test_records_that_are_no_announcements_are_counted_and_passed_over(site: Site) -> None:
    feed = site.feed()
    site.produce(b"\xff\x00 nonsense")
    site.produce(b'{"action": "explode"}')
    site.learn(1.0)
    assert weight_of(feed.step()) == 1.0
    assert errors_of(feed, "record") == 2


def test_without_the_topic_the_feed_goes_on_and_serves_nothing(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "other.db")
    announcements = Announcements(log, "models")
    feed = ModelFeed(
        announcements=announcements, store=VersionStore(tmp_path), metrics=Metrics(CollectorRegistry())
    )
    assert feed.step() == ServedVersion()
    assert errors_of(feed, "log") == 1
    with pytest.raises(BadInput, match="models"):
        feed.load_current()


def test_a_topic_of_several_partitions_has_no_order_to_decide_by(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "other.db")
    log.create_topics([Topic(name="models", num_partitions=2)])
    with pytest.raises(BadConfig, match="2 partitions, expected 1"):
        Announcements(log, "models").catch_up()


def test_a_log_that_was_replaced_does_not_change_what_is_served(site: Site, tmp_path: Path) -> None:
    feed = site.feed()
    site.learn(1.0)
    site.learn(2.0)
    feed.step()
    for path in tmp_path.glob("site.db*"):
        path.unlink()
    site.log.create_topics(site.topics.declare_learning())
    site.learn(3.0)
    assert weight_of(feed.step()) == 2.0
    assert errors_of(feed, "log") == 1


def test_publishing_the_same_again_after_a_failure_is_harmless(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcements = site.announcements()
    draft = announcements.catch_up().promotion(at_ns=1)
    whole = Announcements.catch_up
    calls = iter([True, False])

    def dies_after_producing(self: Announcements) -> Any:
        if next(calls):
            return whole(self)
        raise LogUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Announcements, "catch_up", dies_after_producing)
        with pytest.raises(LogUnavailable):
            publish(announcements, site.store, learned(1.0), draft)
    assert publish(announcements, site.store, learned(1.0), draft).heard
    assert len(site.announcements().catch_up().history) == 1


def test_nothing_is_announced_that_could_not_be_written_or_read_back(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcements = site.announcements()
    draft = announcements.catch_up().promotion(at_ns=1)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(VersionUnwritable):
        publish(announcements, VersionStore(tmp_path / "file"), learned(1.0), draft)

    class Forgetful(VersionStore):
        def put(self, version: LearnedVersion) -> Any:
            return describe(version)

    with pytest.raises(VersionMissing):
        publish(announcements, Forgetful(tmp_path / "empty"), learned(1.0), draft)
    with pytest.raises(BadInput, match="learned from"):
        publish(announcements, site.store, learned(1.0, parent="learned@000000000000"), draft)
    assert announcements.catch_up().history == ()


def test_every_change_has_a_key_of_its_own_and_refusals_have_few(site: Site) -> None:
    site.learn(1.0)
    first = site.announcements().catch_up().current
    for _ in range(2):
        site.roll_back("")
        site.roll_back(first)
    for value in range(4):
        site.learn(float(value), VersionAction.REJECTED)
    keys = [record.key for record in site.log.read(site.topics.models)]
    changes = [key for key in keys if not (key or b"").startswith(b"rejected/")]
    assert len(changes) == len(set(changes)) == 5
    assert all(len(key or b"") == len(b"rejected/00") for key in keys if key not in changes)


def test_a_bug_in_the_feed_is_counted_and_the_thread_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.model_feed.FOLLOW_EVERY_S", 0.01)
    calls: list[ServedVersion] = []

    def buggy(served: ServedVersion) -> None:
        calls.append(served)
        if len(calls) == 1:
            raise ZeroDivisionError

    with site.feed(on_change=buggy).start() as feed:
        site.learn(1.0)
        _wait_until(lambda: feed.served.serial == 1)
        assert errors_of(feed, "bug") == 1


def test_an_announcement_survives_its_coding_with_all_scores(site: Site) -> None:
    announcements = site.announcements()
    draft = announcements.catch_up().promotion(at_ns=1, reason="wins on the new")
    published = publish(announcements, site.store, learned(1.0), draft)
    (entry,) = site.announcements().catch_up().history
    assert isinstance(entry.announcement, ModelAnnouncement)
    assert entry.announcement == published.entry.announcement
    assert (
        msgspec.structs.replace(
            entry.announcement, version="", sha256="", num_bytes=0, tasks=(), data_digest=""
        )
        == draft
    )
