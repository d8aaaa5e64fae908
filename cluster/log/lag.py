"""Tells how far a group is behind."""

from cluster.log.protocol import Log


def lag(log: Log, group: str, topic: str) -> int:
    """Return how many records of a topic a group has not committed yet; what retention has removed is not counted."""
    end = log.end_offsets(topic)
    committed = log.committed(group, topic)
    behind = [partition for partition, offset in end.items() if committed.get(partition, 0) < offset]
    if not behind:
        return 0
    begin = log.beginning_offsets(topic)
    return sum(end[p] - max(committed.get(p, 0), begin[p]) for p in behind)
