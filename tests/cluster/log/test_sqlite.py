import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import LogUnavailable
from cluster.log import Topic, TopicPartition
from cluster.log.sqlite import SqliteLog
from cluster.log.sqlite.database import Database
from cluster.log.sqlite.producer import Buffering
from tests.cluster.log.conftest import poll_until, read_until

FRAMES = TopicPartition("frames", 0)


class SetClock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def append(log: SqliteLog, *values: bytes) -> None:
    with log.producer() as producer:
        for value in values:
            producer.produce("frames", value, partition=0)
            producer.flush()


def span(log: SqliteLog) -> tuple[int, int]:
    return log.beginning_offsets("frames")[FRAMES], log.end_offsets("frames")[FRAMES]


def test_retention_by_bytes_keeps_the_newest_that_fit(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=2, retention_bytes=2500)])
    append(log, *[b"x" * 1000] * 10)
    assert span(log) == (8, 10)
    assert [record.offset for record in log.read("frames")] == [8, 9]


def test_retention_by_bytes_never_removes_the_newest(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1, retention_bytes=10)])
    append(log, b"x" * 1000, b"y" * 1000)
    assert [record.value[:1] for record in log.read("frames")] == [b"y"]


def test_retention_by_age_removes_all_that_is_too_old_and_reuses_no_offset(tmp_path: Path) -> None:
    clock = SetClock()
    log = SqliteLog(tmp_path / "log.db", clock=clock, buffering=Buffering(trim_age_every_s=0))
    log.create_topics(
        [Topic(name="frames", num_partitions=1, retention_s=60), Topic(name="other", num_partitions=1)]
    )
    append(log, b"0", b"1")
    clock.now_s += 40
    append(log, b"2")
    clock.now_s += 30
    append(log, b"3")
    assert span(log) == (2, 4)
    clock.now_s += 1000
    with log.producer() as producer:
        producer.produce("other", b"")
    assert span(log) == (4, 4)
    append(log, b"4")
    assert [(record.offset, record.value) for record in log.read("frames")] == [(4, b"4")]


def test_a_large_excess_is_removed_in_steps_until_none_is_left(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1)])
    with log.producer() as producer:
        for _ in range(2500):
            producer.produce("frames", b"x" * 100)
    log.create_topics([Topic(name="frames", num_partitions=1, retention_bytes=500)])
    starts = []
    for _ in range(3):
        append(log, b"x" * 100)
        starts.append(span(log)[0])
    assert starts == [1000, 2000, 2498]


def test_a_consumer_behind_retention_continues_at_the_oldest_record(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1, retention_bytes=2000)])
    append(log, b"0")
    with log.consumer("g", ["frames"]) as consumer:
        assert read_until(consumer, 1)[0].offset == 0
        append(log, *[b"x" * 1000] * 5)
        assert [record.offset for record in read_until(consumer, 2)] == [4, 5]


def test_what_a_later_record_replaces_is_gone_from_a_compacted_topic_alone(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics(
        [Topic(name="frames", num_partitions=1), Topic(name="tasks", num_partitions=2, compacted=True)]
    )
    with log.producer() as producer:
        for number in range(50):
            producer.produce("tasks", b"%d" % number * 1000, key=b"task-%d" % (number % 3), partition=1)
            producer.produce("frames", b"%d" % number, key=b"one camera")
    assert [record.offset for record in log.read("tasks")] == [47, 48, 49]
    assert len(list(log.read("frames"))) == 50
    with log._database.session() as connection:
        counted = connection.execute("SELECT max(partitions.num_bytes) FROM partitions JOIN topics "
                                     "ON topics.id = topic_id WHERE name = 'tasks'").fetchone()  # fmt: skip
    assert counted == (3 * (2000 + len("task-0")),)


def test_the_time_of_a_record_is_found_among_those_that_compaction_left(tmp_path: Path) -> None:
    clock = SetClock()
    log = SqliteLog(tmp_path / "log.db", clock=clock)
    log.create_topics([Topic(name="tasks", num_partitions=1, compacted=True)])
    with log.producer() as producer:
        for key in (b"a", b"b", b"a", b"a", b"c", b"a"):  # 1, 4 and 5 stay
            producer.produce("tasks", b"", key=key)
            producer.flush()
            clock.now_s += 1
    kept_after = []
    for after_ms in (0, 1000, 1001, 4000, 4001, 5001):
        start = log.offsets_for_time("tasks", 10**9 + after_ms)
        kept_after.append([record.offset for record in log.read("tasks", start)])
    assert kept_after == [[1, 4, 5], [1, 4, 5], [4, 5], [4, 5], [5], []]


def test_a_log_of_the_layout_before_is_brought_up_to_date_with_its_records(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1)])
    append(log, b"kept")
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("ALTER TABLE topics DROP COLUMN compacted")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    log.create_topics(
        [Topic(name="frames", num_partitions=1), Topic(name="tasks", num_partitions=1, compacted=True)]
    )
    assert [record.value for record in log.read("frames")] == [b"kept"]


def test_times_never_fall_though_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = SetClock()
    log = SqliteLog(tmp_path / "log.db", clock=clock)
    log.create_topics([Topic(name="frames", num_partitions=1)])
    append(log, b"0")
    clock.now_s -= 500
    append(log, b"1")
    clock.now_s += 501
    append(log, b"2")
    assert [record.timestamp_ms for record in log.read("frames")] == [10**9, 10**9, 10**9 + 1000]
    assert log.offsets_for_time("frames", 10**9 + 1)[FRAMES] == 2


def test_what_is_flushed_is_there_for_others_and_what_is_not_follows_by_itself(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", buffering=Buffering(linger_s=0.2))
    log.create_topics([Topic(name="frames", num_partitions=1)])
    producer = log.producer()
    producer.produce("frames", b"0")
    assert span(log) == (0, 0)
    producer.flush()
    assert span(log) == (0, 1)
    producer.produce("frames", b"1")
    deadline_s = time.monotonic() + 5
    while span(log) != (0, 2):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    producer.close()


def test_a_writer_waits_for_another_and_loses_nothing(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", busy_timeout_s=0.1, buffering=Buffering(retry_s=0.05))
    log.create_topics([Topic(name="frames", num_partitions=1)])
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    producer = log.producer()
    other.execute("BEGIN IMMEDIATE")
    producer.produce("frames", b"0")
    producer.produce("frames", b"1")
    with pytest.raises(LogUnavailable, match=r"2 records are not yet durable.*another process holds"):
        producer.flush(5)
    other.execute("ROLLBACK")
    producer.flush(5)
    producer.close()
    other.close()
    assert [record.value for record in log.read("frames")] == [b"0", b"1"]


def test_a_full_buffer_blocks_for_a_bounded_time(tmp_path: Path) -> None:
    buffering = Buffering(buffer_bytes=1000, max_block_s=0.2, retry_s=0.05)
    log = SqliteLog(tmp_path / "log.db", busy_timeout_s=0.05, buffering=buffering)
    log.create_topics([Topic(name="frames", num_partitions=1)])
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    producer = log.producer()
    producer.produce("frames", b"x" * 600)
    time.sleep(0.05)  # the writer takes this one, the next waits behind it
    producer.produce("frames", b"x" * 600)
    with pytest.raises(LogUnavailable, match=r"has taken nothing for 0.2 s and 2 records wait"):
        producer.produce("frames", b"x" * 600)
    other.execute("ROLLBACK")
    other.close()
    producer.close()
    assert len(list(log.read("frames"))) == 2


def test_a_commit_refused_by_a_locked_database_can_be_repeated(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", busy_timeout_s=0.1)
    log.create_topics([Topic(name="frames", num_partitions=1)])
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    with log.consumer("g", ["frames"]) as consumer:
        poll_until(lambda: len(consumer.assignment()) == 1, consumer)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match=r"cannot commit to the log .* within 0.1 s"):
            consumer.commit({FRAMES: 1})
        other.execute("ROLLBACK")
        consumer.commit({FRAMES: 2})
    other.close()
    assert log.committed("g", "frames") == {FRAMES: 2}


def test_a_file_that_is_no_database_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"these are not the records you are looking for" * 100)
    with pytest.raises(LogUnavailable, match=r"log\.db.*not an SQLite database.*move this one away"):
        SqliteLog(tmp_path / "log.db").create_topics([Topic(name="frames", num_partitions=1)])


def test_a_damaged_database_is_named_with_a_remedy(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1)])
    append(log, *[os.urandom(60_000) for _ in range(20)])
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (tmp_path / "log.db").open("r+b") as file:
        file.seek(32_768)
        file.write(os.urandom(10 * 32_768))
    with pytest.raises(LogUnavailable, match=r"log\.db.*the file is damaged"):
        list(log.read("frames"))


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("CREATE TABLE accounts (id INTEGER)")
    connection.close()
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(LogUnavailable, match="database of another program"):
        SqliteLog(tmp_path / "log.db").producer()
    assert (tmp_path / "log.db").read_bytes() == before


def test_a_directory_that_cannot_be_made_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailable, match=r"directory of the log .*cannot be made"):
        SqliteLog(tmp_path / "file" / "log.db").producer()
    with pytest.raises(LogUnavailable, match=r"check that the directory exists"):
        SqliteLog(tmp_path).producer()  # the path is a directory


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    SqliteLog(tmp_path / "log.db").create_topics([])
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LogUnavailable, match="has layout 99"):
        SqliteLog(tmp_path / "log.db").producer()


def test_many_openers_at_once_make_one_database(tmp_path: Path) -> None:
    def create(_: int) -> None:
        SqliteLog(tmp_path / "log.db").create_topics([Topic(name="frames", num_partitions=3)])

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(create, range(12)))
    assert len(SqliteLog(tmp_path / "log.db").end_offsets("frames")) == 3


def test_the_log_can_be_read_with_the_sqlite3_shell(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=4)])
    with log.producer() as producer:
        producer.produce("frames", b"jpeg", key=b"cam", headers=(("ce_id", b"7"),), partition=3)
    with log._database.session() as connection:
        row = connection.execute('SELECT topic, partition, "offset", key, headers, value FROM log').fetchone()
    assert row == ("frames", 3, 0, "cam", '[["ce_id","7"]]', b"jpeg")


def test_an_idle_consumer_takes_almost_no_processor_time(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=64)])
    with log.consumer("g", ["frames"]) as consumer:
        poll_until(lambda: len(consumer.assignment()) == 64, consumer)
        before_s = time.thread_time()
        assert consumer.poll(100, 1.0) == []
        assert time.thread_time() - before_s < 0.02


def test_a_member_left_over_from_before_a_reboot_does_not_hold_partitions(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=1)])
    connection = Database(tmp_path / "log.db").connect()
    connection.execute("INSERT INTO members VALUES ('old', 'g', '[1]', ?, 8.0)", (time.monotonic() + 1e6,))
    connection.execute("INSERT INTO leases VALUES ('g', 1, 'old')")
    connection.close()
    with log.consumer("g", ["frames"]) as consumer:
        poll_until(lambda: consumer.assignment() == {FRAMES}, consumer, timeout_s=5)
