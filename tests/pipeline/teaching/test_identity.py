import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import TaskExample, TaskKind, TaskRecord, decode, encode
from pipeline.teaching import task_digest, task_id
from tests.pipeline.teaching.examples import class_examples, task

number = st.floats(allow_nan=False, allow_infinity=False)
example = st.builds(
    TaskExample,
    image=st.binary(max_size=8),
    label=st.text("ab/", max_size=3),
    camera=st.text("ab/", max_size=3),
    boxes=st.lists(st.tuples(number, number, number, number), max_size=2).map(tuple),
    query=st.booleans(),
)
examples = st.lists(example, max_size=5)


@given(examples, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order(drawn: list[TaskExample], random) -> None:
    assert task_digest(random.sample(drawn, len(drawn))) == task_digest(drawn)


@given(examples, examples)
def test_other_examples_have_another_digest(one: list[TaskExample], other: list[TaskExample]) -> None:
    same = sorted(map(encode, one)) == sorted(map(encode, other))
    assert (task_digest(one) == task_digest(other)) is same


@given(examples)
def test_the_digest_survives_the_way_through_the_log(drawn: list[TaskExample]) -> None:
    assert task_digest(decode(encode(task(*drawn)), TaskRecord).examples) == task_digest(drawn)


def test_no_part_of_an_example_can_pass_for_a_piece_of_another() -> None:
    torn = [
        TaskExample(image=b"ab", label="c"), TaskExample(image=b"a", label="bc"), TaskExample(image=b"abc"),
        TaskExample(image=b"ab", camera="c"), TaskExample(image=b"", label="abc"),
    ]  # fmt: skip
    assert len({task_digest([one]) for one in torn}) == len(torn)
    assert task_digest(torn[:2]) != task_digest(torn[:1] * 2)


def test_a_task_is_named_by_kind_name_and_the_first_digits_of_its_digest() -> None:
    taught = task(*class_examples())
    assert task_id(taught) == f"class/courier/{taught.digest[:12]}"
    assert task_id(msgspec.structs.replace(taught, kind=TaskKind.CAMERA)).startswith("camera/courier/")
