import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pipeline.detections import Detections
from pipeline.records import FrameRef
from pipeline.tracker import CameraTracker, TrackerConfig
from pipeline.tracking.kernel import assign, take_frame
from tests.pipeline.tracking.reference_tracker import ReferenceTracker


def cheapest_total(cost_RC, alone):
    """Gives every row a place of its own to stay alone, and asks SciPy."""
    num_rows = len(cost_RC)
    places_RR = np.where(np.eye(num_rows, dtype=bool), alone, np.inf)
    square = np.hstack((cost_RC, places_RR))
    rows, columns = linear_sum_assignment(np.where(np.isinf(square), 1e6, square))
    return square[rows, columns].sum()


@st.composite
def sparse_costs(draw):
    num_rows, num_columns = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost_RC = rng.choice([0.0, 0.1, 0.2, 0.3, 0.5], (num_rows, num_columns)) + draw(
        st.sampled_from([0.0, 0.01])
    ) * rng.random((num_rows, num_columns))
    return np.where(rng.random((num_rows, num_columns)) < draw(st.floats(0, 1)), cost_RC, np.inf)


@settings(max_examples=100, deadline=None)
@given(sparse_costs(), st.floats(0.05, 0.7))
def test_an_assignment_is_as_cheap_as_any(cost_RC, alone):
    rows, columns = np.nonzero(cost_RC < alone)
    starts_R = np.searchsorted(rows, np.arange(len(cost_RC) + 1)).astype(np.int64)
    column_of_R = assign(starts_R, columns, cost_RC[rows, columns], cost_RC.shape[1], alone)
    seated = np.flatnonzero(column_of_R >= 0)
    assert len(set(column_of_R[seated].tolist())) == len(seated)
    total = cost_RC[seated, column_of_R[seated]].sum() + alone * (len(cost_RC) - len(seated))
    assert total == pytest.approx(cheapest_total(np.where(cost_RC < alone, cost_RC, np.inf), alone))


def test_many_rows_that_want_the_same_columns_are_assigned_as_cheaply_as_any():
    cost_RC = np.random.default_rng(0).random((90, 80))
    starts_R = np.arange(91, dtype=np.int64) * 80
    column_of_R = assign(starts_R, np.tile(np.arange(80), 90), cost_RC.ravel(), 80, 2.0)
    rows, columns = linear_sum_assignment(cost_RC)
    seated = np.flatnonzero(column_of_R >= 0)
    assert cost_RC[seated, column_of_R[seated]].sum() == pytest.approx(cost_RC[rows, columns].sum())


# the whole frame


def crowd(seed, num_people, num_frames, crowding, whole, drop):
    """People on the move; `whole` rounds boxes and scores so that costs tie, `crowding` pushes them together."""
    rng = np.random.default_rng(seed)
    start_P2, speed_P2 = rng.uniform(0, 600 / crowding, (num_people, 2)), rng.normal(0, 6, (num_people, 2))
    height_P = rng.uniform(40, 160, num_people)
    frames = []
    for step in range(num_frames):
        kept = np.flatnonzero(rng.random(num_people) >= drop)
        corner_N2 = start_P2[kept] + step * speed_P2[kept] + rng.normal(0, 2, (len(kept), 2))
        size_N2 = np.stack((0.4 * height_P[kept], height_P[kept]), axis=1)
        boxes_N4 = np.hstack((corner_N2, corner_N2 + size_N2))
        scores_N = rng.uniform(0.05, 1.0, len(kept))
        if whole:
            boxes_N4, scores_N = 20.0 * np.round(boxes_N4 / 20.0), 0.25 * np.round(4.0 * scores_N)
            boxes_N4 = np.repeat(boxes_N4, 2, axis=0)  # every box twice: ties everywhere
            scores_N, kept = np.repeat(scores_N, 2), np.repeat(kept, 2)
        frames.append(Detections(boxes_N4.astype(np.float32), scores_N.astype(np.float32), kept % 2))
    return frames


crowds = st.builds(
    crowd,
    seed=st.integers(0, 2**32 - 1),
    num_people=st.integers(0, 12),
    num_frames=st.integers(1, 15),
    crowding=st.sampled_from([1.0, 4.0, 10.0]),
    whole=st.booleans(),
    drop=st.floats(0.0, 0.6),
)
steps_ns = st.lists(
    st.sampled_from([10**8, 4 * 10**7, 3 * 10**8, 0, -(10**8), 15 * 10**8, 10**10]), min_size=20, max_size=20
)
configs = st.builds(
    TrackerConfig,
    confirm_hits=st.integers(1, 3),
    lost_s=st.sampled_from([0.5, 2.0]),
    height_power=st.sampled_from([0.0, 1.0, 1.5]),
    tentative_buffer=st.sampled_from([0.0, 0.3]),
    appearance_weight=st.sampled_from([0.0, 0.3]),
    direction_weight=st.sampled_from([0.0, 0.3, 1.0]),
    reupdate_step_s=st.sampled_from([0.0, 0.1]),
)


@settings(max_examples=150, deadline=None)
@given(crowds, steps_ns, configs, st.booleans())
def test_the_compiled_tracker_does_what_the_slow_one_does(frames, steps, config, looked_at):
    rng = np.random.default_rng(0)
    fast, slow = CameraTracker("cam", config), ReferenceTracker("cam", config)
    captured_ns = 0
    for offset, (detections, step_ns) in enumerate(zip(frames, steps, strict=False)):
        captured_ns += step_ns
        ref = FrameRef(topic="frames", partition=0, offset=offset)
        embeddings_ND = rng.normal(size=(len(detections), 3)) if looked_at else None
        if looked_at:
            embeddings_ND[::4] = np.nan
        frame = (detections, captured_ns, ref, embeddings_ND)
        assert fast.update(*frame) == slow.update(*frame)
        for ours, theirs in zip(fast.snapshot().tracks, slow.tracks, strict=True):
            assert (ours.id, ours.label, ours.hits, ours.confirmed, ours.seen_ns) == (
                theirs.id, theirs.label, theirs.hits, theirs.confirmed, theirs.seen_ns,
            )  # fmt: skip
            np.testing.assert_allclose(ours.filter, theirs.filter_54.ravel(), rtol=1e-9, atol=1e-9)


# one compiled kind


def test_detections_of_any_kind_of_memory_are_tracked_alike_and_compile_nothing_more():
    frames = crowd(seed=1, num_people=6, num_frames=6, crowding=1.0, whole=False, drop=0.1)
    trackers = [CameraTracker("cam", TrackerConfig()) for _ in range(4)]
    for offset, one in enumerate(frames):
        ref = FrameRef(topic="frames", partition=0, offset=offset)
        shared = Detections(*(array.copy() for array in (one.boxes_N4, one.scores_N, one.labels_N)))
        for array in (shared.boxes_N4, shared.scores_N, shared.labels_N):
            array.setflags(write=False)  # as arrays are that came from another process
        columns = Detections(np.asfortranarray(one.boxes_N4), one.scores_N, one.labels_N.astype(np.int32))
        wide = Detections(one.boxes_N4.astype(np.float64), one.scores_N.astype(np.float64), one.labels_N)
        updates = [
            tracker.update(kind, offset * 10**8, ref)
            for tracker, kind in zip(trackers, (one, shared, columns, wide), strict=True)
        ]
        assert updates == [updates[0]] * 4
    assert len(take_frame.signatures) == 1
