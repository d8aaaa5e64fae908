import dataclasses

import numpy as np
import pytest
import simplejpeg

from pipeline.errors import BadFrame, BadFrameCause
from pipeline.frames import FrameHeader
from pipeline.guard import FrameConfig, FrameGuard

JPEG = simplejpeg.encode_jpeg(np.zeros((48, 64, 3), np.uint8), 90, "BGR")
HEADER = FrameHeader(camera="door", sequence=0, captured_ns=1, produced_ns=1, epoch=100, width=64, height=48)


@pytest.fixture
def guard() -> FrameGuard:
    return FrameGuard(frozenset({"door", "yard"}), FrameConfig())


def cause_of(guard: FrameGuard, header: FrameHeader, value: bytes = JPEG) -> BadFrameCause:
    with pytest.raises(BadFrame) as caught:
        guard.admit(header.to_headers(), value)
    return caught.value.cause


def test_a_good_frame_is_admitted(guard: FrameGuard) -> None:
    assert guard.admit(HEADER.to_headers(), JPEG) == HEADER


def test_the_size_in_the_jpeg_wins_over_the_size_in_the_headers(guard: FrameGuard) -> None:
    lying = dataclasses.replace(HEADER, width=9999, height=1)
    admitted = guard.admit(lying.to_headers(), JPEG)
    assert (admitted.width, admitted.height) == (64, 48)


def test_an_unknown_camera_is_refused(guard: FrameGuard) -> None:
    assert cause_of(guard, dataclasses.replace(HEADER, camera="cellar")) is BadFrameCause.UNKNOWN_CAMERA


def test_of_two_gateways_claiming_a_camera_the_later_one_is_believed(guard: FrameGuard) -> None:
    guard.admit(HEADER.to_headers(), JPEG)
    later = dataclasses.replace(HEADER, epoch=200, sequence=0)
    assert guard.admit(later.to_headers(), JPEG) == later
    earlier = dataclasses.replace(HEADER, sequence=1)
    assert cause_of(guard, earlier) is BadFrameCause.SUPERSEDED_GATEWAY


def test_a_frame_sent_twice_is_refused(guard: FrameGuard) -> None:
    guard.admit(HEADER.to_headers(), JPEG)
    assert cause_of(guard, HEADER) is BadFrameCause.DUPLICATE


def test_a_refused_frame_leaves_no_trace(guard: FrameGuard) -> None:
    assert cause_of(guard, HEADER, b"text") is BadFrameCause.NOT_A_JPEG
    assert guard.admit(HEADER.to_headers(), JPEG) == HEADER


def test_one_cameras_gateway_does_not_fence_anothers(guard: FrameGuard) -> None:
    guard.admit(dataclasses.replace(HEADER, epoch=200).to_headers(), JPEG)
    other = dataclasses.replace(HEADER, camera="yard")
    assert guard.admit(other.to_headers(), JPEG) == other


def test_a_message_above_the_byte_cap_is_refused(guard: FrameGuard) -> None:
    guard.config = FrameConfig(max_bytes=len(JPEG) - 1)
    assert cause_of(guard, HEADER) is BadFrameCause.TOO_LARGE


def test_a_camera_that_moved_away_may_come_back_from_the_start(guard: FrameGuard) -> None:
    guard.admit(HEADER.to_headers(), JPEG)
    guard.forget(["door"])
    assert guard.admit(HEADER.to_headers(), JPEG) == HEADER
