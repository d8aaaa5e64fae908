from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.overload import Arrival, Load, OverloadConfig, choose

PERIOD_NS = 100_000_000  # ten frames a second
LATEST = OverloadConfig(policy="latest", max_lag_s=1.0)
ALL = OverloadConfig()
counts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def arrivals(sequences: Sequence[int], end: int | None = None) -> list[Arrival]:
    """Frames of one camera alone in its partition, which ends at `end`."""
    end = sequences[-1] + 1 if end is None else end
    return [Arrival(1, number, number * PERIOD_NS, number, end - number - 1) for number in sequences]


def looked_at(config: OverloadConfig, batches: Sequence[Sequence[Arrival]]) -> list[int]:
    """Sequences that are looked at when frames arrive in these batches."""
    load, looked = Load(), []
    for batch in batches:
        looks, load = choose(config, load, batch)
        looked += [arrival.sequence for arrival, look in zip(batch, looks, strict=True) if look]
    return looked


def split(frames: list[Arrival], sizes: Sequence[int]) -> list[list[Arrival]]:
    batches, rest = [], frames
    for size in sizes:
        batches, rest = [*batches, rest[:size]], rest[size:]
    return [batch for batch in [*batches, rest] if batch]


def simulate(config: OverloadConfig, look_s: float, room: int, num_steps: int = 400) -> list[tuple[int, int]]:
    """Let a camera send while each look takes time; return (frame looked at, newest in the log then)."""
    load, now_s, position, looked = Load(), 0.0, 0, []
    for _ in range(num_steps):
        end = int(now_s * 10) + 1
        batch = arrivals(range(position, min(end, position + room)), end) if position < end else []
        position += len(batch)
        looks, load = choose(config, load, batch)
        looked += [(arrival.sequence, end - 1) for arrival, look in zip(batch, looks, strict=True) if look]
        now_s += 0.001 + sum(looks) * look_s
    return looked


@given(counts, st.integers(0, 10_000))
def test_all_skips_nothing_however_far_it_is_behind(sizes: list[int], backlog: int) -> None:
    frames = arrivals(range(sum(sizes)), sum(sizes) + backlog)
    assert looked_at(ALL, split(frames, sizes)) == list(range(sum(sizes)))


@given(st.integers(1, 9), counts, st.sets(st.integers(0, 200)))
def test_stride_looks_at_the_same_frames_whatever_the_batching(
    stride: int, sizes: list[int], dropped: set[int]
) -> None:
    config = OverloadConfig(policy="stride", stride=stride)
    frames = arrivals([number for number in range(201) if number not in dropped] or [0])
    assert looked_at(config, split(frames, sizes)) == looked_at(config, [frames])


def test_stride_looks_at_every_nth_frame() -> None:
    config = OverloadConfig(policy="stride", stride=3)
    assert looked_at(config, [arrivals(range(10))]) == [0, 3, 6, 9]


def test_stride_is_not_blinded_by_a_gateway_that_sends_only_odd_frames() -> None:
    config = OverloadConfig(policy="stride", stride=4)
    assert looked_at(config, [arrivals(range(1, 20, 2))]) == [1, 5, 9, 13, 17]


def test_stride_begins_anew_with_a_new_run_of_the_gateway() -> None:
    config = OverloadConfig(policy="stride", stride=5)
    again = [Arrival(2, 0, 0, 6, 0), Arrival(2, 1, 1, 7, 0)]
    assert looked_at(config, [arrivals(range(6)), again]) == [0, 5, 0]


@given(counts)
def test_latest_skips_nothing_while_the_camera_keeps_up(sizes: list[int]) -> None:
    sizes = [min(size, 8) for size in sizes]
    frames = arrivals(range(sum(sizes)))
    batches = [
        [arrival._replace(num_after=batch[-1].offset - arrival.offset) for arrival in batch]
        for batch in split(frames, sizes)
    ]
    assert looked_at(LATEST, batches) == list(range(sum(sizes)))


@given(st.floats(0.11, 1.0), st.integers(1, 64))
def test_latest_bounds_the_lag_and_always_makes_progress(look_s: float, room: int) -> None:
    looked = simulate(LATEST, look_s, room)
    steady = looked[len(looked) // 4 :]
    # Once in so many frames one is looked at though it is old, so that no camera goes blind.
    late = [number for number, newest in steady if newest - number > 10]
    assert len(late) <= len(steady) / 10
    assert len(steady) > 20
    assert looked[-1][1] - looked[-1][0] <= 10 + room


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 1000)), min_size=1, max_size=40))
def test_latest_never_looks_back(steps: list[tuple[int, int]]) -> None:
    batches, position = [], 0
    for size, backlog in steps:
        batches.append(arrivals(range(position, position + size), position + size + backlog))
        position += size
    looked = looked_at(LATEST, batches)
    assert looked == sorted(set(looked))


def test_latest_jumps_to_the_newest_after_an_outage() -> None:
    before = arrivals(range(20))
    backlog = split(arrivals(range(20, 60)), [8] * 5)
    looked = looked_at(LATEST, [before, *backlog])
    assert looked == [19, 51, 59]


def test_latest_leaves_gaps_that_are_short_and_even_under_a_steady_overload() -> None:
    looked = [number for number, _ in simulate(LATEST, 0.25, 8, num_steps=1000)]
    steady = looked[len(looked) // 2 :]
    gaps = [after - before for before, after in pairwise(steady)]
    assert max(gaps) <= 3  # as few as two and a half frames come meanwhile


def test_latest_looks_at_an_old_frame_now_and_then_however_far_behind_it_stays() -> None:
    batches = [arrivals(range(8 * step, 8 * step + 8), 1_000_000) for step in range(100)]
    looked = looked_at(LATEST, batches)
    gaps = [after - before for before, after in pairwise(looked)]
    assert max(gaps) <= 108


def test_latest_ends_thinning_once_nothing_had_to_be_skipped_for_a_while() -> None:
    load = Load()
    _, load = choose(LATEST, load, arrivals(range(8), 100))
    assert load.thinning
    for number in range(8, 47):  # four seconds after frame 7
        _, load = choose(LATEST, load, arrivals([number]))
    assert load.thinning
    _, load = choose(LATEST, load, arrivals([47]))
    assert not load.thinning


@pytest.mark.parametrize("jump_ns", [-3_600_000_000_000, 3_600_000_000_000])
def test_latest_is_not_blinded_by_a_camera_clock_that_jumps(jump_ns: int) -> None:
    frames = [
        Arrival(1, number, number * PERIOD_NS + jump_ns * (number > 50) + 10**15, number, 0)
        for number in range(100)
    ]
    assert looked_at(LATEST, [[frame] for frame in frames]) == list(range(100))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"policy": "newest"}, "'latest'"), ({"max_lag_s": 0}, "max_lag_s"), ({"stride": 0}, "stride")],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        OverloadConfig(**settings)  # type: ignore[arg-type]
