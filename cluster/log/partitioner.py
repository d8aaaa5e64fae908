"""Places records in partitions and polls in order of fairness, the same way on every log."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count

from cluster.log.protocol import TopicPartition

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash bytes to 32 bits as Kafka's Java client does (MurmurHash2 by Austin Appleby, little endian)."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _MULTIPLIER & _MASK
        k = (k ^ k >> 24) * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=4096)
def partition_for_key(key: bytes, num_partitions: int) -> int:
    """Return the partition of a key: Kafka's default, librdkafka's `murmur2_random`."""
    return (murmur2(key) & 0x7FFFFFFF) % num_partitions


class Partitioner:
    """Chooses the partition of each record of one producer; records without a key go round."""

    def __init__(self) -> None:
        self._keyless: Iterator[int] = count()

    def choose(self, key: bytes | None, num_partitions: int) -> int:
        """Return a partition below `num_partitions`."""
        if key is None:
            return next(self._keyless) % num_partitions
        return partition_for_key(key, num_partitions)


def fair_shares(waiting: Mapping[TopicPartition, int], room: int) -> dict[TopicPartition, int]:
    """Divide `room` records over partitions, none more than what it has waiting (max-min fairness).

    Args:
        waiting: records waiting in each partition; earlier ones get the remainder of an uneven division.
        room: how many records can be taken in all.

    Returns:
        How many to take from each partition, in the order given, without zeros; the sum is
        min(room, sum(waiting)).
    """
    shares = dict.fromkeys(waiting, 0)
    hungry = [partition for partition, num in waiting.items() if num > 0]
    while room > 0 and hungry:
        each = max(1, room // len(hungry))
        for partition in hungry:
            taken = min(each, waiting[partition] - shares[partition], room)
            shares[partition] += taken
            room -= taken
        hungry = [partition for partition in hungry if shares[partition] < waiting[partition]]
    return {partition: num for partition, num in shares.items() if num}


def places_on(waiting: Mapping[TopicPartition, int], shares: Mapping[TopicPartition, int]) -> int:
    """Return by how many places the next turn begins later, so that who got least is first; 0 if all got all."""
    if sum(shares.values()) == sum(waiting.values()):
        return 0
    if len(shares) == sum(num > 0 for num in waiting.values()):
        return 1
    return [*waiting].index([*shares][-1]) + 1 if shares else 0
