from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.learning.lessons import Lesson
from pipeline.learning.replay import Replay
from pipeline.records import TaskKind

KEYS = st.tuples(st.sampled_from(list(TaskKind)), st.text("abcdef", min_size=1, max_size=3))


def lesson(kind: TaskKind, name: str, material: int = 0) -> Lesson:
    return Lesson(f"{kind.value}/{name}/0", kind, name, 1, material)


def test_a_lesson_takes_the_place_of_the_one_before_of_its_name() -> None:
    replay = Replay(4)
    replay.add(lesson(TaskKind.CLASS, "courier", 1))
    replay.add(lesson(TaskKind.CLASS, "courier", 2))
    assert [one.material for one in replay] == [2]


@given(st.lists(KEYS, min_size=1, max_size=60), st.integers(1, 12))
def test_it_stays_within_its_bound_and_keeps_the_newest(
    keys: list[tuple[TaskKind, str]], capacity: int
) -> None:
    replay = Replay(capacity)
    for kind, name in keys:
        replay.add(lesson(kind, name))
        assert len(replay) <= capacity
        assert replay.get(kind, name) is not None


@given(st.permutations([(kind, str(index)) for kind in TaskKind for index in range(8)]))
def test_kinds_share_the_room_evenly_whatever_the_order(keys: list[tuple[TaskKind, str]]) -> None:
    replay = Replay(9)
    for kind, name in keys:
        replay.add(lesson(kind, name))
    assert Counter(one.kind for one in replay) == dict.fromkeys(TaskKind, 3)


def test_a_forgotten_lesson_is_gone() -> None:
    replay = Replay(4)
    replay.add(lesson(TaskKind.CAMERA, "door"))
    replay.forget(TaskKind.CAMERA, "door")
    replay.forget(TaskKind.CAMERA, "never taught")
    assert len(replay) == 0
