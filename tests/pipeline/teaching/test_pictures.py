import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import BadTask
from pipeline.teaching import pictures
from pipeline.teaching.pictures import decode_strictly, overlap, shrink, shrink_array, shrink_crop, within
from tests.pipeline.teaching.examples import encoded, image, size_of


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_crop_of_any_format_becomes_a_jpeg_no_larger_than_a_crop_need_be(form: str) -> None:
    assert size_of(shrink_crop(encoded(1, 24, 32, form), "a")) == (24, 32)
    assert size_of(shrink_crop(encoded(1, 300, 600, form), "a")) == (128, 256)
    assert size_of(shrink_crop(encoded(1, 2000, 2, form), "a")) == (256, 1)


def test_what_is_shrunk_still_shows_the_same_and_says_how_much_smaller_it_is() -> None:
    small = shrink(image(1, 600, 300), 100)
    assert (small.scale_x, small.scale_y) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    with Image.open(io.BytesIO(small.jpeg)) as opened:
        difference = np.abs(
            np.asarray(opened, float) - np.asarray(image(1, 600, 300).resize((100, 50)), float)
        )
    assert difference.mean() < 4


def test_an_array_is_taken_as_blue_green_red() -> None:
    blue = np.zeros((20, 10, 3), np.uint8)
    blue[..., 0] = 250
    with Image.open(io.BytesIO(shrink_array(blue))) as opened:
        red, _, is_blue = opened.getpixel((5, 5))
    assert red < 10
    assert is_blue > 240


def test_metadata_does_not_travel_with_a_picture() -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "taken at home"
    image(1).save(stream, "JPEG", exif=exif, comment="by my aunt", icc_profile=b"profile of a screen")
    for metadata in (b"taken at home", b"by my aunt", b"profile of a screen"):
        assert metadata in stream.getvalue()
        assert metadata not in shrink_crop(stream.getvalue(), "a")


def turned() -> bytes:
    """A picture of 40 x 20 pixels that says of itself that it is to be shown turned by 90 degrees."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    image(1, 40, 20).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def test_a_picture_is_turned_upright_unless_its_annotations_are_for_it_as_it_is() -> None:
    assert decode_strictly(turned(), "a").size == (20, 40)
    assert decode_strictly(turned(), "a", (20, 40)).size == (20, 40)
    assert decode_strictly(turned(), "a", (40, 20)).size == (40, 20)


def test_a_picture_of_another_size_than_its_annotations_say_is_refused() -> None:
    with pytest.raises(BadTask, match=r"a.jpg has 24 x 32 pixels, its annotations are for 48 x 64"):
        decode_strictly(encoded(1), "a.jpg", (48, 64))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_a_picture_that_is_cut_short_is_named(form: str) -> None:
    whole = encoded(1, 200, 200, form)
    with pytest.raises(BadTask, match=r"half.jpg is no picture that can be decoded .*replace or remove it"):
        decode_strictly(whole[: len(whole) // 2], "half.jpg")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"GIF89a" + b"\0" * 40, b"%PDF-1.4"])
def test_what_is_no_picture_is_named(content: bytes) -> None:
    with pytest.raises(BadTask, match=r"thing is no picture that can be decoded"):
        decode_strictly(content, "thing")


def test_a_small_file_that_would_decode_to_gigabytes_is_refused_by_its_header() -> None:
    header = encoded(1, 24, 32, "PNG")
    bomb = header[:16] + (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big") + header[24:]
    with pytest.raises(BadTask, match="bomb"):
        decode_strictly(bomb, "bomb")


def test_more_pixels_than_are_decoded_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(BadTask, match=r"big\.jpg has 24 x 32 pixels, expected at most 767; shrink it"):
        decode_strictly(encoded(1), "big.jpg")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "BMP", "WEBP"]), st.data())
def test_a_damaged_picture_is_decoded_or_refused_and_nothing_else(form: str, data: st.DataObject) -> None:
    content = bytearray(encoded(1, 24, 32, form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadTask):
        assert decode_strictly(bytes(content), "damaged").mode == "RGB"


def test_a_box_is_clipped_by_a_rounding_error_and_no_more() -> None:
    assert within((-1.0, 0.0, 24.0, 32.0), (24, 32)) == (0.0, 0.0, 24.0, 32.0)
    assert within((3.0, 4.0, 25.0, 33.0), (24, 32)) == (3.0, 4.0, 24.0, 32.0)
    nan = float("nan")
    for outside in (
        (-1.1, 0, 9, 9),
        (0, 0, 25.1, 9),
        (5, 5, 5, 9),
        (9, 9, 5, 5),
        (24, 0, 25, 9),
        (nan, 0, 9, 9),
    ):
        assert within(outside, (24, 32)) is None


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap((0, 0, 10, 10), (-20, -20, -10, -10)) == 0
