import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_murmur2

from cluster.log import TopicPartition
from cluster.log.partitioner import fair_shares, murmur2, partition_for_key


@given(st.binary(max_size=64))
def test_murmur2_equals_that_of_the_kafka_client(data: bytes) -> None:
    assert murmur2(data) == kafka_murmur2(data)


@pytest.mark.parametrize(
    ("key", "java_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"abc", 479470107),
    ],
)
def test_murmur2_equals_the_values_in_kafkas_own_tests(key: bytes, java_hash: int) -> None:
    assert murmur2(key) == java_hash & 0xFFFFFFFF


@given(st.binary(max_size=32), st.integers(1, 1000))
def test_every_key_has_one_partition_of_those_there_are(key: bytes, num_partitions: int) -> None:
    assert 0 <= partition_for_key(key, num_partitions) < num_partitions


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 200))
def test_fair_shares_fill_the_room_and_starve_nobody(waiting: list[int], room: int) -> None:
    queues = {TopicPartition("frames", number): num for number, num in enumerate(waiting)}
    shares = fair_shares(queues, room)
    assert sum(shares.values()) == min(room, sum(waiting))
    assert all(0 < share <= queues[partition] for partition, share in shares.items())
    largest = max(shares.values(), default=0)
    for partition, num in queues.items():
        got = shares.get(partition, 0)
        assert got == num or got >= largest - 1, (
            "one got less than it had waiting, another two more than that"
        )
