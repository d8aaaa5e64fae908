import logging
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.demo.report import count_skipped
from cluster.log.protocol import Record, Topic, TopicPartition
from cluster.overload import HURRY_RECORDS
from cluster.topics import Topics
from pipeline.perception import EncodedFrame, Perception, Refusal, Seen
from pipeline.records import Gap, GapCause, OffsetRun, decode
from tests.cluster import test_shard
from tests.cluster.squares import BLUE, RED
from tests.cluster.test_shard import TOPICS, Bench

NUM_FRAMES = 60


def site_with(**overload: object) -> list[dict[str, object]]:
    return [{"id": "door", "overload": overload}, {"id": "yard"}]


def gaps(bench: Bench) -> list[Gap]:
    return [decode(record.value, Gap) for record in bench.log.read(TOPICS.gaps)]


def sequences(bench: Bench, camera: str) -> list[int]:
    return [result.sequence for result in bench.results() if result.camera == camera]


def lag(bench: Bench) -> int:
    committed = bench.log.committed(TOPICS.shard_group, TOPICS.frames)
    return sum(end - committed.get(tp, 0) for tp, end in bench.log.end_offsets(TOPICS.frames).items())


def place_of(bench: Bench, camera: str) -> TopicPartition:
    result = next(result for result in bench.results() if result.camera == camera)
    return TopicPartition(TOPICS.frames, result.frame.partition)


def test_by_default_nothing_is_skipped_however_long_the_backlog(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.walk("door", RED, 40)
    bench.run()
    assert sequences(bench, "door") == list(range(40))
    assert gaps(bench) == []
    bench.close()


def test_a_stride_leaves_a_track_alive_other_cameras_alone_and_an_account_of_each_frame(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, cameras=site_with(policy="stride", stride=3))
    bench.walk("door", RED, 30)
    bench.walk("yard", BLUE, 30)
    bench.run()
    assert sequences(bench, "door") == list(range(0, 30, 3))
    assert sequences(bench, "yard") == list(range(30))
    results = [result for result in bench.results() if result.camera == "door"]
    assert len({seen.track for result in results for seen in result.observations}) == 1
    assert bench.sample("camweave_frames_skipped_total", camera="door", cause="stride") == 20
    assert bench.sample("camweave_frames_skipped_total", camera="yard", cause="stride") == 0
    assert count_skipped(gaps(bench), results) == 20
    assert {(gap.camera, gap.cause) for gap in gaps(bench)} == {("door", GapCause.STRIDE)}
    assert lag(bench) == 0
    bench.close()


def test_latest_skips_a_backlog_in_few_batches_and_looks_at_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cameras=site_with(policy="latest", max_lag_s=1.0))
    bench.walk("door", RED, NUM_FRAMES, end=False)
    bench.walk("yard", BLUE, NUM_FRAMES, end=False)
    bench.run()
    looked = sequences(bench, "door")
    assert looked[-1] == NUM_FRAMES - 1
    assert len(looked) < 12
    assert sequences(bench, "yard") == list(range(NUM_FRAMES))
    assert count_skipped(gaps(bench), bench.results()) == NUM_FRAMES - len(looked)
    assert bench.sample("camweave_frames_skipped_total", camera="door", cause="latest") == NUM_FRAMES - len(
        looked
    )
    assert lag(bench) == 0
    bench.close()


def test_a_camera_that_skips_ahead_is_not_held_up_by_the_backlog_of_another(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cameras=site_with(policy="latest"), batch_frames=4)
    bench.walk("yard", BLUE, NUM_FRAMES, end=False)
    bench.walk("door", RED, NUM_FRAMES, end=False)
    polled: list[int] = []
    while 59 not in (results := sequences(bench, "door")):
        polled.append(bench.shard.step(0.3))
        assert polled[-1], results
        bench.shard._writer.flush()
    assert len(sequences(bench, "yard")) < NUM_FRAMES / 3
    assert max(polled) <= 2 * (4 + HURRY_RECORDS)
    bench.run()
    assert sequences(bench, "yard") == list(range(NUM_FRAMES))
    bench.close()


def test_what_the_log_has_removed_unread_is_counted_told_and_logged_once_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.walk("door", RED, 4, end=False)
    bench.run()
    bench.shard.close()
    bench.log.create_topics(TOPICS.declare(frames_retention_bytes=20_000))
    for sequence in range(4, 40):
        bench.walk_one("door", RED, sequence)
    begin = bench.log.beginning_offsets(TOPICS.frames)[place_of(bench, "door")]
    assert 4 < begin < 40
    bench.shard = bench.new_shard()
    with caplog.at_level(logging.ERROR):
        bench.run()
        bench.run()
    assert sequences(bench, "door") == [0, 1, 2, 3, *range(begin, 40)]
    place = place_of(bench, "door")
    lost = bench.sample("camweave_frames_lost_total", partition=str(place.partition), cause="retention")
    assert lost == begin - 4
    (gap,) = gaps(bench)
    assert (gap.cause, gap.camera, gap.runs) == (GapCause.RETENTION, "door", (OffsetRun(4, begin),))
    (said,) = [record for record in caplog.records if "frames lost" in record.message]
    assert "frames_retention_bytes" in said.message
    assert vars(said)["num_frames"] == begin - 4
    bench.close()


def test_tracklets_that_the_log_has_removed_unread_are_counted_and_the_gallery_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.walk("door", RED, 12)
    bench.run()
    bench.log.create_topics([Topic(name=TOPICS.tracklets, num_partitions=1, retention_bytes=1)])
    bench.walk("yard", RED, 12)
    bench.run()
    (begin,) = bench.log.beginning_offsets(TOPICS.tracklets).values()
    gallery = bench.new_gallery()
    while gallery.step(0.3):
        pass
    gallery.step(0.1)
    gallery.close()
    assert begin > 0
    assert bench.sample("camweave_tracklet_records_lost_total", cause="retention") == begin
    assert "results_retention_s" in caplog.text
    bench.close()


def test_a_slow_network_holds_polling_up_and_nothing_is_dropped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, batch_frames=4)
    bench.walk("door", RED, 200, end=False)
    go_on = threading.Event()
    detect = bench.perception.detect
    polled: list[Record] = []
    poll = bench.shard._consumer.poll

    def detect_slowly(frames: Sequence[EncodedFrame]) -> list[Seen | Refusal]:
        assert go_on.wait(10.0)
        return Perception.detect(bench.perception, frames)

    def poll_and_note(max_records: int, timeout_s: float) -> list[Record]:
        polled.extend(poll(max_records, timeout_s))
        return polled[-max_records:]

    bench.perception.detect = detect_slowly  # type: ignore[method-assign]
    bench.shard._consumer.poll = poll_and_note  # type: ignore[method-assign]
    steps = threading.Thread(target=lambda: [bench.shard.step(0.3) for _ in range(5)])
    steps.start()
    steps.join(0.5)
    assert steps.is_alive()  # waits for the networks
    assert len(polled) == 2 * bench.site.batch_frames  # two batches in flight, and no third
    go_on.set()
    steps.join(10.0)
    bench.perception.detect = detect  # type: ignore[method-assign]
    bench.shard._consumer.poll = poll  # type: ignore[method-assign]
    bench.run()
    assert sequences(bench, "door") == list(range(200))
    bench.close()


def test_a_batch_in_flight_holds_no_image_that_is_skipped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cameras=site_with(policy="stride", stride=4), batch_frames=8)
    bench.walk("door", RED, 8, end=False)
    bench.shard.step(0.3)
    batch = bench.shard._ahead
    assert batch is not None
    assert [frame.header.sequence for frame in batch.admitted] == [0, 4]
    assert sys.getsizeof(batch.told) < 1000
    bench.close()


def test_a_shard_that_dies_after_a_skip_leaves_every_frame_accounted_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cameras=site_with(policy="latest"), batch_frames=4)
    bench.walk("door", RED, NUM_FRAMES, end=False)
    bench.shard.step(0.3)
    bench.shard.step(0.3)
    bench.shard._uncommitted.clear()  # as if it had died before the commit,
    bench.shard._ahead = None  # with a batch half done
    bench.shard.close()
    bench.shard = bench.new_shard()
    bench.run()
    looked = set(sequences(bench, "door"))
    assert len(looked) + count_skipped(gaps(bench), bench.results()) == NUM_FRAMES
    bench.close()


@pytest.mark.kafka
def test_on_kafka_a_camera_skips_ahead_while_others_are_paused_and_every_frame_is_accounted_for(
    tmp_path: Path, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics.with_prefix(f"test-{uuid.uuid4().hex[:8]}-")
    monkeypatch.setattr(test_shard, "TOPICS", topics)
    bench = Bench(
        tmp_path, log=f"kafka://{kafka}", cameras=site_with(policy="latest"), batch_frames=4
    )  # fmt: skip
    bench.walk("yard", BLUE, NUM_FRAMES, end=False)
    bench.walk("door", RED, NUM_FRAMES, end=False)
    deadline_s = time.monotonic() + 60
    while bench.sample("camweave_frames_processed_total", camera="yard") < NUM_FRAMES:
        assert time.monotonic() < deadline_s
        bench.shard.step(0.2)
    for _ in range(5):
        bench.shard.step(0.2)
    told = [decode(record.value, Gap) for record in bench.log.read(topics.gaps)]
    looked = sequences(bench, "door")
    assert sequences(bench, "yard") == list(range(NUM_FRAMES))
    assert looked[-1] == NUM_FRAMES - 1
    assert 0 < count_skipped(told, bench.results()) == NUM_FRAMES - len(looked)
    bench.close()
