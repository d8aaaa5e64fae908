"""Decides which member of a group reads which partition; every member computes the same answer by itself."""

from collections.abc import Mapping, Sequence


def balance(
    partitions: Sequence[int], members: Sequence[str], owners: Mapping[int, str], turn: int = 0
) -> dict[int, str]:
    """Give every partition of one topic to a member, evenly, moving as few as possible from their owners.

    Args:
        partitions: all partitions of the topic.
        members: who reads the topic, at least one, in any order.
        owners: who holds which partition now; others than `members` count as nobody.
        turn: shifts who gets the remainder, so that topics with few partitions do not all go to one member.

    Returns:
        The member of each partition; their counts differ by one at most.
    """
    members = sorted(members)
    held = {member: [part for part in partitions if owners.get(part) == member] for member in members}
    base, remainder = divmod(len(partitions), len(members))
    # Who holds most keeps the remainder, or partitions would move for nothing.
    ranked = sorted(range(len(members)), key=lambda i: (-len(held[members[i]]), (i - turn) % len(members)))
    quota = {members[i]: base + (rank < remainder) for rank, i in enumerate(ranked)}
    target = {part: member for member in members for part in held[member][: quota[member]]}
    free = iter([part for part in partitions if part not in target])
    for i in ranked:
        member = members[i]
        for _ in range(quota[member] - min(quota[member], len(held[member]))):
            target[next(free)] = member
    return target
