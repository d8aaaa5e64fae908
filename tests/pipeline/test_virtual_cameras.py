from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.evaluation.mot import MotRows, read_sequences
from pipeline.virtual_cameras import VirtualCamera, four_quadrants, render, to_view, view_truth, write_truth

WIDTH, HEIGHT = 768, 576
CAMERAS = four_quadrants(WIDTH, HEIGHT)
PLAIN = VirtualCamera(camera="plain", left=10, top=20, crop_width=100, crop_height=50, width=200, height=150)


def test_four_views_cover_the_whole_source() -> None:
    seen = np.zeros((HEIGHT, WIDTH), bool)
    for camera in CAMERAS:
        seen[camera.top :, camera.left :][: camera.crop_height, : camera.crop_width] = True
    assert seen.all()
    assert {(camera.width, camera.height) for camera in CAMERAS} == {(736, 552)}


def test_neighbouring_views_share_room_for_a_whole_person() -> None:
    west, south = CAMERAS[0], CAMERAS[2]
    person_width, person_height = 40, 100
    assert west.left + west.crop_width - CAMERAS[1].left >= 2 * person_width
    assert CAMERAS[0].top + CAMERAS[0].crop_height - south.top >= person_height


def test_the_views_differ_clearly_in_light_colour_compression_and_time() -> None:
    for a, b in combinations(CAMERAS, 2):
        assert abs(a.gain - b.gain) >= 0.09
        assert a.white_balance != b.white_balance
        assert abs(a.jpeg_quality - b.jpeg_quality) >= 5
        assert abs(a.clock_offset_s - b.clock_offset_s) >= 0.1
    assert all(abs(camera.clock_offset_s) <= 0.3 for camera in CAMERAS)


def test_a_source_too_small_for_four_views_is_refused() -> None:
    with pytest.raises(BadInput, match="12 x 12 pixels is too small"):
        four_quadrants(12, 12)


def test_a_plain_camera_shows_its_crop_enlarged() -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[30:50, 40:80] = (10, 100, 200)
    view = render(PLAIN, frame)
    assert view.shape == (150, 200, 3)
    assert view.dtype == np.uint8
    left, top, right, bottom = to_view(PLAIN, np.array([[40, 30, 80, 50]])).boxes_N4[0].astype(int)
    assert (view[top + 3 : bottom - 3, left + 2 : right - 2] == (10, 100, 200)).all()
    assert (view[: top - 3] == 0).all()
    assert (view[:, right + 3 :] == 0).all()


def test_gain_and_white_balance_act_on_their_channels_and_saturate() -> None:
    camera = VirtualCamera(
        camera="c", left=0, top=0, crop_width=4, crop_height=4, width=8, height=8, gain=2.0,
        white_balance=(0.5, 1.0, 1.25),
    )  # fmt: skip
    view = render(camera, np.full((4, 4, 3), 100, np.uint8))
    assert (view == (100, 200, 250)).all()
    assert (render(camera, np.full((4, 4, 3), 200, np.uint8)) == (200, 255, 255)).all()


def test_a_camera_that_looks_beyond_the_frame_is_named() -> None:
    with pytest.raises(BadInput, match="plain sees up to column 110 and row 70, the frame has 100 x 60"):
        render(PLAIN, np.zeros((60, 100, 3), np.uint8))


def test_a_box_half_inside_is_clipped_and_half_visible() -> None:
    boxes_N4, visible_N = to_view(PLAIN, np.array([[0, 30, 20, 40], [500, 30, 520, 40], [20, 30, 40, 40]]))
    np.testing.assert_allclose(visible_N, [0.5, 0.0, 1.0])
    np.testing.assert_allclose(boxes_N4[0], [0, 30, 20, 60])


boxes = st.tuples(*[st.floats(-50, 800)] * 2, st.floats(1, 200), st.floats(1, 200))


@given(st.lists(boxes, min_size=1, max_size=20))
def test_boxes_stay_inside_the_view_and_visible_shares_between_none_and_all(
    rows: list[tuple[float, ...]],
) -> None:
    boxes_N4 = np.array([(x, y, x + w, y + h) for x, y, w, h in rows])
    view_N4, visible_N = to_view(PLAIN, boxes_N4)
    assert ((view_N4 >= 0) & (view_N4 <= [200, 150, 200, 150])).all()
    assert ((visible_N >= 0) & (visible_N <= 1)).all()
    inside_N = (boxes_N4 >= [10, 20, 10, 20]).all(1) & (boxes_N4 <= [110, 70, 110, 70]).all(1)
    np.testing.assert_allclose(visible_N[inside_N], 1.0)


@given(boxes)
def test_a_persons_box_is_wholly_visible_to_some_camera(box: tuple[float, ...]) -> None:
    x, y = np.clip(box[0], 0, WIDTH - 40), np.clip(box[1], 0, HEIGHT - 100)
    person = np.array([[x, y, x + 40, y + 100]])
    assert max(to_view(camera, person).visible_N[0] for camera in CAMERAS) == pytest.approx(1.0)


def rows(*items: tuple[int, int, float, float, float, float, float]) -> MotRows:
    table = np.array(items, np.float64)
    return MotRows(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6], table[:, 6])


def test_truth_scores_visible_people_ignores_partial_ones_and_leaves_out_the_rest() -> None:
    truth = rows(
        (1, 1, 20, 30, 40, 60, 1),  # wholly inside
        (1, 2, 2, 30, 22, 60, 1),  # 0.6 visible
        (1, 3, -6, 30, 14, 60, 1),  # 0.2 visible
        (1, 4, -9, 30, 10.5, 60, 1),  # a sliver
        (1, 5, 60, 30, 80, 60, 0),  # not scored in the source either
        (1, 6, 60, 30, 62, 33, 1),  # too small for a fair test
    )
    view = view_truth(PLAIN, truth)
    assert dict(zip(view.ids_R.tolist(), view.confidences_R.tolist(), strict=True)) == {
        1: 1,
        2: 1,
        3: 0,
        5: 0,
        6: 0,
    }


def test_written_truth_is_a_mot_sequence_of_each_camera(tmp_path: Path) -> None:
    truth = rows((1, 7, 350, 250, 390, 340, 1), (2, 7, 20, 30, 40, 90, 1), (3, 7, 20, 30, 40, 90, 1))
    write_truth(tmp_path, CAMERAS, truth, num_frames=2, frame_rate=10)
    sequences = {sequence.name: sequence for sequence in read_sequences(tmp_path)}
    assert sorted(sequences) == ["north-east", "north-west", "south-east", "south-west"]
    assert {sequence.truth.ids_R[0] for sequence in sequences.values()} == {7}
    assert sequences["north-west"].truth.frames_R.tolist() == [1, 2]
    assert sequences["south-east"].truth.frames_R.tolist() == [1]
    sequence = sequences["north-west"]
    assert (sequence.num_frames, sequence.frame_rate, sequence.width, sequence.height) == (2, 10.0, 736, 552)


def test_a_camera_outside_the_source_is_refused_when_it_is_described() -> None:
    with pytest.raises(BadInput, match="expected a place inside the source"):
        VirtualCamera(camera="c", left=-1, top=0, crop_width=4, crop_height=4, width=8, height=8)
