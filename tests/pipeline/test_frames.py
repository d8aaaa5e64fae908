import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadFrame, BadFrameCause
from pipeline.frames import FrameHeader, check_jpeg, decode

HEADER = FrameHeader(
    camera="door",
    sequence=3,
    captured_ns=10,
    produced_ns=1_700_000_000_000_000_000,
    epoch=5,
    width=64,
    height=48,
)
PICTURE = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
JPEG = simplejpeg.encode_jpeg(PICTURE, 90, "BGR")


@given(
    st.builds(
        FrameHeader,
        camera=st.text(min_size=1, max_size=30),
        sequence=st.integers(0, 2**62),
        captured_ns=st.integers(0, 2**62),
        produced_ns=st.integers(0, 2**61),
        epoch=st.integers(0, 2**62),
        width=st.integers(0, 99_999),
        height=st.integers(0, 99_999),
        ended=st.booleans(),
        traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
    )
)
def test_a_header_survives_the_round_trip_through_cloudevents(header: FrameHeader) -> None:
    assert FrameHeader.from_headers(header.to_headers()) == header


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)), max_size=12))
def test_arbitrary_headers_are_refused_by_name_and_never_crash(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadFrame) as caught:
        FrameHeader.from_headers(headers)
    assert caught.value.cause is BadFrameCause.NOT_A_FRAME


@pytest.mark.parametrize("missing", ["ce_type", "ce_source", "ce_sequence", "ce_capturedns", "ce_epoch"])
def test_a_missing_attribute_is_named(missing: str) -> None:
    headers = tuple(header for header in HEADER.to_headers() if header[0] != missing)
    with pytest.raises(BadFrame, match=missing):
        FrameHeader.from_headers(headers)


def test_headers_of_a_megabyte_are_refused_before_they_are_read() -> None:
    with pytest.raises(BadFrame, match="exceed"):
        FrameHeader.from_headers((("ce_type", b"x" * 1_000_000), *HEADER.to_headers()))


def test_the_size_of_a_jpeg_is_read_from_its_header() -> None:
    assert check_jpeg(JPEG, max_pixels=640 * 480) == (640, 480)


def test_a_jpeg_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadFrame, match="640 x 480") as caught:
        check_jpeg(JPEG, max_pixels=640 * 480 - 1)
    assert caught.value.cause is BadFrameCause.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "cause"), [(b"", BadFrameCause.EMPTY), (b"hello, I am text", BadFrameCause.NOT_A_JPEG)]
)
def test_what_is_no_jpeg_is_refused_with_its_cause(data: bytes, cause: BadFrameCause) -> None:
    with pytest.raises(BadFrame) as caught:
        check_jpeg(data, max_pixels=10**9)
    assert caught.value.cause is cause


def test_a_truncated_jpeg_passes_the_header_check_and_fails_in_decoding() -> None:
    data = JPEG[: len(JPEG) // 2]
    assert check_jpeg(data, max_pixels=10**9) == (640, 480)
    with pytest.raises(BadFrame) as caught:
        decode(data)
    assert caught.value.cause is BadFrameCause.TRUNCATED


def test_decoding_scales_down_no_further_than_the_size_asked_for() -> None:
    assert decode(JPEG).shape == (480, 640, 3)
    assert decode(JPEG, 240, 320).shape == (240, 320, 3)
    height, width, _ = decode(JPEG, 250, 320).shape
    assert (height, width) >= (250, 320)


def test_decoding_gives_blue_green_red() -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 255
    pixel = decode(simplejpeg.encode_jpeg(blue, 95, "BGR"))[16, 16]
    assert pixel[0] > 240
    assert pixel[2] < 15
