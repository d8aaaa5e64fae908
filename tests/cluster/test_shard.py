import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from cluster.config import SiteConfig, site_from
from cluster.errors import LogUnavailable, RecordsLost
from cluster.gallery import GalleryWriter
from cluster.log import Log, Producer
from cluster.log.open import open_log
from cluster.metrics import Metrics
from cluster.shard import StreamShard
from cluster.topics import Topics
from cluster.writer import DurableWriter
from models.fewshot.classes import ClassHead
from models.fewshot.parts import ClassScores, LearnedParts
from pipeline.frames import FrameHeader
from pipeline.identity import IdentityBook, identities_of_tracks
from pipeline.looks import Looks
from pipeline.perception import CropRequest, EncodedFrame, Perception, Refusal, Seen
from pipeline.records import DeadLetter, DecisionKind, FrameResult, IdentityDecision, TrackletBatch, decode
from tests.cluster.squares import BLUE, RED, ColourEmbedder, SquareDetector, header, jpeg

TOPICS = Topics.with_prefix("")


class Bench:
    """Is a site in one process: real SQLite log, shard and gallery, squares for people."""

    def __init__(self, folder: Path, **overrides: object) -> None:
        tree = {
            "log": f"sqlite:///{folder}/log.db",
            "cameras": [{"id": "door"}, {"id": "yard"}],
            "frames": {"max_pixels": 1_000_000},
            "tracker": {"confirm_hits": 2, "lost_s": 1.0},
            "tracklets": {"min_samples": 2, "sample_interval_s": 0.1},
            "identity": {"match_similarity": 0.6},
            "camera_patience_s": 1000.0,
            **overrides,
        }
        self.site: SiteConfig = site_from(tree, {})
        self.log: Log = open_log(self.site.log)
        self.log.create_topics(TOPICS.declare())
        self.metrics = Metrics(CollectorRegistry())
        self.producer = self.log.producer()
        self.perception = Perception(SquareDetector(), ColourEmbedder(), self.site.perception)
        self.shard = self.new_shard()

    def new_shard(self) -> StreamShard:
        return StreamShard(
            site=self.site, topics=TOPICS, log=self.log, perceiver=self.perception, metrics=self.metrics
        )

    def new_gallery(self, clock_s: Callable[[], float] = time.monotonic) -> GalleryWriter:
        book = IdentityBook(self.site.identity, "colour@1", 3)
        return GalleryWriter(
            clock_s=clock_s, site=self.site, topics=TOPICS, log=self.log, book=book, metrics=self.metrics
        )

    def send(self, head: FrameHeader, value: bytes) -> None:
        self.producer.produce(TOPICS.frames, value, key=head.camera.encode(), headers=head.to_headers())

    def walk(self, camera: str, colour: tuple[int, int, int], num_frames: int, *, end: bool = True) -> None:
        """Send a square that walks to the right."""
        for sequence in range(num_frames):
            self.send(header(camera, sequence), jpeg((20 + 3 * sequence, 60, colour)))
        if end:
            self.send(header(camera, num_frames, ended=True), b"")
        self.producer.flush()

    def walk_one(self, camera: str, colour: tuple[int, int, int], sequence: int) -> None:
        """Send one frame, and wait until the log has it."""
        self.send(header(camera, sequence), jpeg((20 + 3 * sequence, 60, colour)))
        self.producer.flush()

    def run(self) -> None:
        while self.shard.step(0.3):
            pass

    def results(self) -> list[FrameResult]:
        return [decode(record.value, FrameResult) for record in self.log.read(TOPICS.tracks)]

    def letters(self) -> list[DeadLetter]:
        return [decode(record.value, DeadLetter) for record in self.log.read(TOPICS.dead_letters)]

    def decisions(self) -> list[IdentityDecision]:
        return [decode(record.value, IdentityDecision) for record in self.log.read(TOPICS.identities)]

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def close(self) -> None:
        self.shard.close()
        self.producer.close()
        self.perception.close()
        self.log.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_every_frame_gets_one_result_in_order_and_one_track_follows_the_square(bench: Bench) -> None:
    bench.walk("door", RED, 12)
    bench.run()
    results = bench.results()
    assert [result.sequence for result in results] == list(range(12))
    tracks = {observation.track for result in results for observation in result.observations}
    assert len(tracks) == 1
    assert all(result.model_version == "squares@1+colour@1" for result in results)
    assert bench.sample("camweave_frames_processed_total", camera="door") == 12


def test_a_tracks_id_derives_from_the_frame_that_founded_it(bench: Bench) -> None:
    bench.walk("door", RED, 5)
    bench.run()
    first = bench.results()[0]
    assert first.observations[0].track == f"door:{first.frame.partition}-{first.frame.offset}-0"


GOOD = jpeg((20, 60, RED))
BOMB = simplejpeg.encode_jpeg(np.zeros((1200, 1200, 3), np.uint8), 50, "BGR")


@pytest.mark.parametrize(
    ("head", "value", "cause"),
    [
        (header("door", 1), b"", "empty"),
        (header("door", 1), b"good morning", "not_a_jpeg"),
        (header("door", 1), GOOD[: len(GOOD) // 2], "truncated"),
        (header("door", 1), BOMB, "too_large"),
        (header("cellar", 1), GOOD, "unknown_camera"),
        (header("door", 1, epoch=0), GOOD, "superseded_gateway"),
        (header("door", 0), GOOD, "duplicate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_poison_frame_becomes_a_dead_letter_and_the_stream_goes_on(
    bench: Bench, head: FrameHeader, value: bytes, cause: str
) -> None:
    bench.send(header("door", 0), GOOD)
    bench.send(head, value)
    bench.send(header("door", 2), GOOD)
    bench.producer.flush()
    bench.run()
    assert [result.sequence for result in bench.results()] == [0, 2]
    (letter,) = bench.letters()
    assert letter.cause == cause
    assert letter.detail
    assert bench.sample("camweave_dead_letters_total", cause=cause) == 1


def test_a_text_message_on_the_frame_topic_is_a_dead_letter(bench: Bench) -> None:
    bench.producer.produce(TOPICS.frames, b"hello", key=b"door")
    bench.walk("door", RED, 2)
    bench.run()
    assert [letter.cause for letter in bench.letters()] == ["not_a_frame"]
    assert len(bench.results()) == 2


def test_a_second_gateway_takes_over_and_the_first_is_refused_without_harm(bench: Bench) -> None:
    for sequence in range(4):
        bench.send(header("door", sequence, epoch=1), GOOD)
    for sequence in range(4):
        bench.send(header("door", sequence, epoch=2), GOOD)
        bench.send(header("door", sequence + 4, epoch=1), GOOD)
    bench.producer.flush()
    bench.run()
    assert len(bench.results()) == 8
    assert {letter.cause for letter in bench.letters()} == {"superseded_gateway"}
    assert len(bench.letters()) == 4


def test_what_was_processed_is_not_processed_again_by_the_next_shard(bench: Bench) -> None:
    bench.walk("door", RED, 6)
    bench.run()
    bench.shard.close()
    bench.shard = bench.new_shard()
    bench.run()
    assert len(bench.results()) == 6


class Failing:
    """Wraps a producer whose flush fails some times, as when a broker is away."""

    def __init__(self, producer: Producer, errors: list[LogUnavailable]) -> None:
        self._producer = producer
        self._errors = errors

    def __getattr__(self, name: str) -> object:
        return getattr(self._producer, name)

    def flush(self, timeout_s: float = 60.0) -> None:
        if self._errors:
            raise self._errors.pop()
        self._producer.flush(timeout_s)


@pytest.mark.parametrize("error", [LogUnavailable, RecordsLost])
def test_a_log_that_goes_away_between_processing_and_writing_loses_nothing(
    bench: Bench, error: type[LogUnavailable]
) -> None:
    bench.walk("door", RED, 6)
    errors = [error("away")] * 3
    open_producer = bench.log.producer
    bench.shard._writer = DurableWriter(lambda: Failing(open_producer(), errors))  # type: ignore[arg-type, return-value]
    assert bench.shard.step(1.0) > 0
    assert bench.shard.step(0.3) > 0  # completes what the first one began
    for _ in range(3):
        with pytest.raises(LogUnavailable):
            bench.shard.step(0.3)
    bench.run()
    assert {result.sequence for result in bench.results()} == set(range(6))
    assert not bench.letters()


def test_a_shard_hands_a_camera_over_only_after_completing_its_batch_in_hand(bench: Bench) -> None:
    bench.walk("door", RED, 6)
    assert bench.shard.step(1.0) > 0
    assert bench.results() == []
    bench.shard._hand_over(bench.shard._consumer.assignment())
    assert [result.sequence for result in bench.results()] == list(range(6))


def test_the_networks_look_at_a_batch_while_the_batch_before_is_followed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, batch_frames=2)
    bench.walk("door", RED, 4)
    second_begun = threading.Event()
    embed = bench.perception.embed

    def detect_and_tell(frames: Sequence[EncodedFrame]) -> list[Seen | Refusal]:
        if frames[0].key[2] == 2:
            second_begun.set()
        return Perception.detect(bench.perception, frames)

    def embed_meanwhile(requests: Sequence[CropRequest]) -> list[Looks]:
        assert second_begun.wait(5.0)
        return embed(requests)

    bench.perception.detect = detect_and_tell  # type: ignore[method-assign]
    bench.perception.embed = embed_meanwhile  # type: ignore[method-assign]
    bench.run()
    assert [result.sequence for result in bench.results()] == list(range(4))
    bench.close()


def test_the_same_square_in_two_cameras_is_one_identity_and_another_colour_is_not(bench: Bench) -> None:
    bench.walk("door", RED, 12)
    bench.walk("yard", RED, 12)
    bench.run()
    gallery = bench.new_gallery()
    while gallery.step(0.3):
        pass
    gallery.close()
    asked = [d for d in bench.decisions() if d.kind in (DecisionKind.NEW, DecisionKind.MATCH)]
    assert sorted(d.kind for d in asked) == [DecisionKind.MATCH, DecisionKind.NEW]
    assert asked[0].identity == asked[1].identity


def test_a_gallery_that_starts_again_remembers_and_decides_nothing_twice(bench: Bench) -> None:
    bench.walk("door", RED, 12)
    bench.walk("yard", BLUE, 12)
    bench.run()
    first = bench.new_gallery()
    while first.step(0.3):
        pass
    first.close()
    before = bench.decisions()
    again = bench.new_gallery()
    assert again._book.num_identities == 2
    while again.step(0.3):
        pass
    again.close()
    assert bench.decisions() == before


def test_identities_wait_for_the_slower_camera(bench: Bench) -> None:
    bench.walk("door", RED, 12, end=False)
    bench.run()
    gallery = bench.new_gallery()
    while gallery.step(0.3):
        pass
    assert bench.decisions() == []
    bench.walk("yard", RED, 12, end=False)
    bench.run()
    while gallery.step(0.3):
        pass
    gallery.close()
    assert {d.camera for d in bench.decisions()} == {"door", "yard"}


def test_identities_go_on_without_a_camera_that_has_fallen_silent(bench: Bench) -> None:
    now_s = [0.0]
    bench.walk("door", RED, 12, end=False)
    bench.run()
    gallery = bench.new_gallery(lambda: now_s[0])
    while gallery.step(0.3):
        pass
    assert bench.decisions() == []
    now_s[0] = bench.site.camera_patience_s + 1
    gallery.step(0.1)
    gallery.close()
    assert [d.camera for d in bench.decisions()] == ["door"]


def test_a_tracklet_record_that_cannot_be_read_is_buried_and_the_rest_goes_on(bench: Bench) -> None:
    bench.producer.produce(TOPICS.tracklets, b"nonsense")
    bench.walk("door", RED, 12)
    bench.walk("yard", RED, 12)
    bench.run()
    gallery = bench.new_gallery()
    while gallery.step(0.3):
        pass
    gallery.close()
    assert [letter.cause for letter in bench.letters()] == ["bad_tracklet"]
    assert len(set(identities_of_tracks(bench.decisions()).values())) == 1


def test_the_end_of_a_stream_ends_its_tracks(bench: Bench) -> None:
    bench.walk("door", RED, 12)
    bench.run()
    batches = [decode(record.value, TrackletBatch) for record in bench.log.read(TOPICS.tracklets)]
    assert batches[-1].ended
    assert [event.phase for event in batches[-1].events] == ["ended"]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=5))
def test_shards_that_die_at_any_point_lose_no_frame_and_repeat_no_track_id(steps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), batch_frames=4)
        bench.walk("door", RED, 10)
        bench.walk("yard", BLUE, 10)
        for num_steps in steps:
            for _ in range(num_steps):
                bench.shard.step(0.2)
            bench.shard._uncommitted.clear()  # as if it had died before the commit,
            bench.shard._ahead = None  # with a batch half done
            bench.shard.close()
            bench.shard = bench.new_shard()
        bench.run()
        results = {(r.camera, r.sequence): r for r in bench.results()}
        assert set(results) == {(camera, n) for camera in ("door", "yard") for n in range(10)}
        tracks: dict[str, set[str]] = {}
        for (camera, _), result in results.items():
            for seen in result.observations:
                tracks.setdefault(seen.track or "", set()).add(camera)
        assert all(len(cameras) == 1 for cameras in tracks.values())
        bench.close()


def test_a_class_taught_while_frames_stream_is_named_from_then_on_and_no_frame_is_lost(bench: Bench) -> None:
    bench.walk("door", RED, 20, end=False)
    for _ in range(2):
        bench.shard.step(0.3)
    redness = ClassHead(np.array([0, 0, 8], np.float32), -4.0)
    bench.perception.use(LearnedParts(version="learned@1", classes=ClassScores({"red": redness})))
    bench.run()
    results = bench.results()
    assert [result.sequence for result in results] == list(range(20))
    versions = [result.model_version for result in results]
    first = versions.index("squares@1+colour@1+learned@1")
    assert 0 < first < 20
    assert versions == sorted(versions)
    taught = [result.observations[0].taught for result in results]
    assert taught[0] == {}
    assert taught[-1]["red"] > 0.9
    assert len({result.observations[0].track for result in results[1:]}) == 1


def test_what_is_said_of_a_taught_class_does_not_depend_on_how_frames_are_batched(tmp_path: Path) -> None:
    told = []
    for batch_frames in (1, 7):
        bench = Bench(tmp_path / str(batch_frames), batch_frames=batch_frames)
        redness = ClassHead(np.array([0, 0, 8], np.float32), -4.0)
        bench.perception.use(LearnedParts(version="learned@1", classes=ClassScores({"red": redness})))
        bench.walk("door", RED, 20)
        bench.run()
        told.append([[one.taught for one in result.observations] for result in bench.results()])
        bench.close()
    assert told[0] == told[1]
    assert any(any(one) for one in told[0])
