import threading
import time
from collections.abc import Callable

import pytest

from cluster.errors import LogUnavailable
from cluster.gateway import BoundedOutbox, Clock, Delivery, PatientOutbox
from cluster.gateway.delivery import Outgoing
from pipeline.errors import BadInput
from pipeline.frames import FrameHeader
from tests.cluster.gateway.conftest import START_NS, FakeTime, FlakyProducer, FrameLog


def frame(sequence: int, ended: bool = False) -> Outgoing:
    header = FrameHeader(
        camera="cam",
        sequence=sequence,
        captured_ns=START_NS,
        produced_ns=0,
        epoch=1,
        width=4,
        height=4,
        ended=ended,
    )
    return Outgoing(b"jpeg", header)


def eventually(holds: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return holds()


def sequences(producer: FlakyProducer) -> list[int]:
    return [header.sequence for header in producer.taken]


def test_a_patient_outbox_waits_for_the_log_and_drops_nothing(stop: threading.Event) -> None:
    producer = FlakyProducer(away=True)
    waits: list[float] = []

    def log_comes_back_on_the_fifth_wait(_: object, seconds: float) -> bool:
        waits.append(seconds)
        producer.away = len(waits) < 5
        return False

    clock = Clock(wait=log_comes_back_on_the_fifth_wait)
    outbox = PatientOutbox(Delivery(lambda: producer, "frames", clock), stop, clock)
    assert [outbox.put(frame(sequence)) for sequence in range(3)] == [0, 0, 0]
    assert sequences(producer) == [0, 1, 2]
    assert len(waits) == 5


def test_a_patient_outbox_gives_up_when_told_to_stop(stop: threading.Event) -> None:
    outbox = PatientOutbox(Delivery(lambda: FlakyProducer(away=True), "frames", Clock()), stop)
    stop.set()
    assert outbox.put(frame(0)) == 1
    assert not outbox.flush(5.0)


def test_a_bounded_outbox_keeps_the_newest_frames_while_the_log_is_away(stop: threading.Event) -> None:
    producer = FlakyProducer(away=True)
    outbox = BoundedOutbox(Delivery(lambda: producer, "frames", Clock()), 4, stop, retry_s=0.01)
    assert outbox.put(frame(0)) == 0
    assert eventually(lambda: not outbox._waiting)  # the sender has taken the first one up
    assert [outbox.put(frame(sequence)) for sequence in range(1, 11)] == [0] * 4 + [1] * 6
    assert outbox.num_waiting == 5
    producer.away = False
    assert outbox.flush(5.0)
    assert sequences(producer) == [0, 7, 8, 9, 10]
    assert outbox.counts("cam").taken == 5
    outbox.close()


def test_a_bounded_outbox_never_makes_the_camera_wait(stop: threading.Event) -> None:
    blocked = threading.Event()

    class BlockingProducer(FlakyProducer):
        def produce(self, *args: object, **kwargs: object) -> None:
            blocked.wait(10)

    outbox = BoundedOutbox(Delivery(BlockingProducer, "frames", Clock()), 4, stop)
    started_s = time.monotonic()
    for sequence in range(100):
        outbox.put(frame(sequence))
    assert time.monotonic() - started_s < 1.0
    blocked.set()
    outbox.close()


def test_flushing_a_bounded_outbox_gives_up_when_the_time_is_over(stop: threading.Event) -> None:
    outbox = BoundedOutbox(
        Delivery(lambda: FlakyProducer(away=True), "frames", Clock()), 4, stop, retry_s=0.01
    )
    outbox.put(frame(0))
    assert not outbox.flush(0.1)
    assert outbox.num_waiting == 1
    outbox.close()


def test_the_end_of_stream_counts_as_no_frame(stop: threading.Event) -> None:
    producer = FlakyProducer()
    outbox = BoundedOutbox(Delivery(lambda: producer, "frames", Clock()), 4, stop)
    outbox.put(frame(0))
    outbox.put(frame(1, ended=True))
    assert outbox.flush(5.0)
    assert outbox.counts("cam").taken == 1
    assert [header.ended for header in producer.taken] == [False, True]
    outbox.close()


def test_a_missing_topic_comes_out_in_the_cameras_thread(frame_log: FrameLog, stop: threading.Event) -> None:
    outbox = BoundedOutbox(Delivery(frame_log.log.producer, "no-such-topic", Clock()), 4, stop)
    outbox.put(frame(0))
    with pytest.raises(BadInput, match="no-such-topic"):
        outbox.flush(5.0)
    outbox.close()


def test_a_producer_that_has_given_up_is_replaced_and_its_losses_are_counted(fake_time: FakeTime) -> None:
    producers = [FlakyProducer(), FlakyProducer()]
    delivery = Delivery(iter(producers).__next__, "frames", fake_time.clock)
    assert delivery.deliver(frame(0))
    assert delivery.flush(1.0)
    assert delivery.deliver(frame(1))
    producers[0].broken = True
    assert not delivery.deliver(frame(2))
    assert delivery.deliver(frame(2))
    assert sequences(producers[1]) == [2]
    assert delivery.counts("cam") == (3, 1)


def test_a_log_that_was_away_for_long_costs_no_frame_once_it_is_back(fake_time: FakeTime) -> None:
    producers = [FlakyProducer()]
    delivery = Delivery(iter(producers).__next__, "frames", fake_time.clock)
    assert delivery.deliver(frame(0))
    producers[0].away = True
    assert not any(delivery.deliver(frame(1)) for _ in range(30))
    producers[0].away = False
    assert delivery.deliver(frame(1))
    assert sequences(producers[0]) == [0, 1]
    assert delivery.counts("cam") == (2, 0)


def test_a_log_that_is_down_at_the_start_is_opened_later(fake_time: FakeTime) -> None:
    producer = FlakyProducer()
    attempts: list[int] = []

    def open_producer() -> FlakyProducer:
        attempts.append(1)
        if len(attempts) < 3:
            raise LogUnavailable("down")
        return producer

    delivery = Delivery(open_producer, "frames", fake_time.clock)
    assert [delivery.deliver(frame(0)) for _ in range(3)] == [False, False, True]


def test_frames_are_flushed_now_and_then_so_that_losses_stay_known(fake_time: FakeTime) -> None:
    producer = FlakyProducer()
    delivery = Delivery(lambda: producer, "frames", fake_time.clock)
    for sequence in range(10):
        delivery.deliver(frame(sequence))
        fake_time.now_ns += 1_000_000_000
    producer.broken = True
    delivery.close()
    assert delivery.counts("cam").lost <= 2


def test_the_time_of_producing_is_when_the_log_takes_the_frame(fake_time: FakeTime) -> None:
    producer = FlakyProducer(away=True)
    delivery = Delivery(lambda: producer, "frames", fake_time.clock)
    assert not delivery.deliver(frame(0))
    fake_time.now_ns += 7
    producer.away = False
    assert delivery.deliver(frame(0))
    assert producer.taken[0].produced_ns == START_NS + 7
