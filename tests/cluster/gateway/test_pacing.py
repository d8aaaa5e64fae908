import random
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import LogUnavailable
from cluster.gateway.pacing import Backoff, Clock, LagLimit, Pacer, RateLimit
from cluster.log.protocol import TopicPartition
from tests.cluster.gateway.conftest import START_NS, FakeTime, FrameLog

SECOND = 1_000_000_000


def test_a_recording_is_sent_at_its_own_frame_rate(fake_time: FakeTime, stop: threading.Event) -> None:
    pacer = Pacer(fake_time.clock, START_NS)
    times = [fake_time.now_ns for index in range(5) if pacer.wait(index * 0.1, stop)]
    assert times == [START_NS + index * SECOND // 10 for index in range(5)]


def test_a_late_recording_catches_up_without_waiting(fake_time: FakeTime, stop: threading.Event) -> None:
    pacer = Pacer(fake_time.clock, START_NS)
    fake_time.now_ns += SECOND
    assert pacer.wait(0.5, stop)
    assert fake_time.waits == []


def test_pacing_ends_when_told_to_stop(stop: threading.Event) -> None:
    pacer = Pacer(Clock(), START_NS * 2)
    threading.Timer(0.05, stop.set).start()
    assert not pacer.wait(0.0, stop)


def test_a_rate_limit_keeps_two_of_five_frames_from_25_to_10_fps() -> None:
    limit = RateLimit(10)
    assert sum(limit.admits(START_NS + index * SECOND // 25) for index in range(250)) == 100


@given(st.lists(st.integers(-20_000_000, 20_000_000), min_size=2, max_size=100))
def test_a_camera_that_jitters_around_the_limit_keeps_all_its_frames(jitters_ns: list[int]) -> None:
    limit = RateLimit(10)
    assert limit.admits(START_NS)
    assert all(
        limit.admits(START_NS + index * SECOND // 10 + jitter) for index, jitter in enumerate(jitters_ns, 1)
    )


@given(st.lists(st.integers(0, SECOND), min_size=1, max_size=200), st.integers(1, 30))
def test_no_second_ever_gets_many_more_frames_than_the_limit(steps_ns: list[int], max_fps: int) -> None:
    limit, now_ns, admitted = RateLimit(max_fps), START_NS, []
    for step_ns in steps_ns:
        now_ns += step_ns
        if limit.admits(now_ns):
            admitted.append(now_ns)
    assert all(sum(t <= other < t + SECOND for other in admitted) <= max_fps + 2 for t in admitted)


def test_a_rate_limit_starts_anew_when_the_clock_was_set_back() -> None:
    limit = RateLimit(10)
    assert limit.admits(START_NS)
    assert limit.admits(START_NS - 3600 * SECOND)


def test_attempts_double_from_first_to_longest_and_jitter_below() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    waits_s = [backoff.next_s() for _ in range(2000)]
    ceilings_s = [min(30.0, 0.5 * 2.0 ** min(index, 10)) for index in range(2000)]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits_s, ceilings_s, strict=True))
    assert len(set(waits_s[10:])) > 1900


def test_attempts_start_short_again_after_success() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    for _ in range(8):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_a_fast_gateway_waits_until_its_readers_have_committed(frame_log: FrameLog) -> None:
    group, topic, stop = frame_log.topics.shard_group, frame_log.topics.frames, threading.Event()
    waits: list[float] = []

    def reader_commits_on_the_third_wait(_: object, seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            with frame_log.log.consumer(group, [topic]) as consumer:
                records = []
                while len(records) < 5:
                    records += consumer.poll(5, 5.0)
                consumer.commit({records[0].topic_partition: 5})
        return False

    limit = LagLimit(frame_log.log, group, topic, [b"cam"], 5, Clock(wait=reader_commits_on_the_third_wait))
    with frame_log.log.producer() as producer:
        assert all(limit.wait(stop) for _ in range(5))
        assert waits == []
        for _ in range(5):
            producer.produce(topic, b"frame", key=b"cam")
    assert limit.lag() == 5
    assert limit.wait(stop)
    assert waits == [LagLimit.POLL_S] * 3


def test_other_cameras_do_not_count_for_the_lag(frame_log: FrameLog) -> None:
    with frame_log.log.producer() as producer:
        for _ in range(9):
            producer.produce(frame_log.topics.frames, b"frame", key=b"north-west")
    limit = LagLimit(frame_log.log, frame_log.topics.shard_group, frame_log.topics.frames, [b"south-east"], 5)
    assert limit.lag() == 0


def test_waiting_for_readers_ends_when_told_to_stop(frame_log: FrameLog, stop: threading.Event) -> None:
    with frame_log.log.producer() as producer:
        producer.produce(frame_log.topics.frames, b"frame", key=b"cam")
    limit = LagLimit(frame_log.log, frame_log.topics.shard_group, frame_log.topics.frames, [b"cam"], 1)
    threading.Timer(0.05, stop.set).start()
    assert not limit.wait(stop)


class LogThatComesBack:
    """Answers from the third question on."""

    num_questions = 0

    def beginning_offsets(self, topic: str) -> dict[TopicPartition, int]:
        self.num_questions += 1
        if self.num_questions < 3:
            raise LogUnavailable("away")
        return {TopicPartition(topic, 0): 0}

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return {TopicPartition(topic, 0): 0}

    def committed(self, group: str, topic: str) -> dict[TopicPartition, int]:
        return {}


def test_a_log_that_does_not_answer_is_waited_for(fake_time: FakeTime, stop: threading.Event) -> None:
    limit = LagLimit(LogThatComesBack(), "shards", "frames", [b"cam"], 4, fake_time.clock)  # type: ignore[arg-type]
    assert limit.wait(stop)
    assert len(fake_time.waits) == 2


def test_the_log_is_asked_only_when_the_room_is_used_up(
    frame_log: FrameLog, stop: threading.Event, tmp_path: Path
) -> None:
    limit = LagLimit(frame_log.log, frame_log.topics.shard_group, frame_log.topics.frames, [b"cam"], 100)
    assert limit.wait(stop)
    frame_log.log.close()
    (tmp_path / "log.db").unlink()
    assert all(limit.wait(stop) for _ in range(99))
