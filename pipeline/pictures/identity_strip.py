"""Draws why several tracks are one identity: a timeline by camera, and below it a card a track with its crops.

All sizes are in pixels of the picture; colours are blue, green, red.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

import cv2
import numpy as np

from models.detector import ImageHW3
from pipeline.errors import BadInput
from pipeline.pictures.colours import BLACK, Colour, camera_colours, ink_on
from pipeline.pictures.lettering import Sprite, label, round_rectangle, stamp, text, tinted
from pipeline.pictures.mosaic import clock_time

MAX_CARDS: Final = 40
"""Eight rows: more cannot be looked at together."""
MAX_CROPS: Final = 3
"""Crops on a card: how somebody came, was best seen, and left."""

_WIDTH: Final = 1680
_MARGIN: Final = 36
_COLUMNS: Final = 5
_GAP: Final = 18
_CARD_WIDTH: Final = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
_PAD: Final = 14
_CROP_HEIGHT: Final = 176
_CROP_GAP: Final = 8
_CROP_WIDTH: Final = (_CARD_WIDTH - 2 * _PAD - (MAX_CROPS - 1) * _CROP_GAP) // MAX_CROPS
_RIVAL_HEIGHT: Final = 96
_RIVAL_WIDTH: Final = 44
_HEAD_HEIGHT: Final = 92
_LANE_HEIGHT: Final = 26
_LANE_LEFT: Final = 190
_AXIS_HEIGHT: Final = 40
_TITLE, _BODY, _SMALL = 27, 15, 13
_LINE: Final = 19
_SHORTEST_BAR: Final = 5
_NUM_TICKS: Final = 8

_GROUND: Final[Colour] = (255, 255, 255)
_CARD: Final[Colour] = (248, 246, 244)
_INK: Final[Colour] = (46, 39, 34)
_FAINT: Final[Colour] = (120, 112, 104)
_RULE: Final[Colour] = (230, 226, 222)
_EMPTY: Final[Colour] = (226, 222, 218)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rival:
    """Is who else a track was compared with, and was not taken for."""

    caption: str
    crop: ImageHW3 | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """Holds what is shown of one track."""

    camera: str
    start_s: float
    """Seconds since the run's first frame, camera clocks aligned."""
    end_s: float
    heading: str
    """What was decided, in a few words."""
    lines: tuple[str, ...] = ()
    """The evidence, a sentence each; wrapped to the card."""
    crops: tuple[ImageHW3, ...] = ()
    """Of the person, in order of time; none where the frames are no longer kept."""
    rival: Rival | None = None


class _Spot(NamedTuple):
    """Is a rectangle of the picture."""

    left: int
    top: int
    width: int
    height: int


def draw_identity_strip(
    title: str, subtitle: str, colour: Colour, cards: Sequence[Card], cameras: Sequence[str] = ()
) -> ImageHW3:
    """Draw the cards in the order of time, at most MAX_CARDS, under a timeline; returns H x W x 3, uint8.

    `subtitle` has one or two lines; `colour` is the identity's; `cameras` fixes the order and so the colours of the lanes.

    Raises:
        BadInput: there is no card.
    """
    if not cards:
        raise BadInput(f"{title} has no track to draw; expected at least one")
    shown = sorted(cards, key=lambda card: (card.start_s, card.camera))[:MAX_CARDS]
    met = list(dict.fromkeys([*cameras, *sorted({card.camera for card in shown})]))
    colours = dict(zip(met, camera_colours(len(met)), strict=True))
    lanes = [camera for camera in met if any(card.camera == camera for card in shown)]
    spots = list(_card_spots(shown, _HEAD_HEIGHT + len(lanes) * _LANE_HEIGHT + _AXIS_HEIGHT))
    height = max(spot.top + spot.height for spot in spots) + _MARGIN
    canvas: ImageHW3 = np.full((height, _WIDTH, 3), _GROUND, np.uint8)
    if len(shown) < len(cards):
        subtitle = f"the first {len(shown)} of {len(cards)} tracks; {subtitle}"
    _draw_head(canvas, title, subtitle, colour)
    _draw_timeline(canvas, shown, lanes, colours)
    for number, (card, spot) in enumerate(zip(shown, spots, strict=True), start=1):
        _draw_card(canvas, spot, number, card, colours[card.camera])
    return canvas


def _card_spots(cards: Sequence[Card], top: int) -> Iterator[_Spot]:
    """Lay cards out row by row; all cards of a row are as high as its fullest."""
    for start in range(0, len(cards), _COLUMNS):
        row = cards[start : start + _COLUMNS]
        height = max(_card_height(card) for card in row)
        for column in range(len(row)):
            yield _Spot(_MARGIN + column * (_CARD_WIDTH + _GAP), top, _CARD_WIDTH, height)
        top += height + _GAP


def _card_height(card: Card) -> int:
    lines = len(_wrapped(card.lines, _CARD_WIDTH - 2 * _PAD))
    rival = _RIVAL_HEIGHT + 8 if card.rival and card.rival.crop is not None else 0
    caption = len(_rival_lines(card)) * _LINE if card.rival else 0
    return (
        _PAD
        + 28
        + _CROP_HEIGHT
        + 12
        + 24
        + lines * _LINE
        + (8 if card.rival else 0)
        + max(rival, caption)
        + _PAD
    )


def _draw_head(canvas: ImageHW3, title: str, subtitle: str, colour: Colour) -> None:
    chip = label(_shortened(title, _WIDTH // 2, _TITLE), _TITLE, ink_on(colour), colour)
    stamp(canvas, chip, _MARGIN, 22)
    for index, words in enumerate(
        _wrapped(subtitle.splitlines(), _WIDTH - 2 * _MARGIN - chip.width - 20, _BODY)[:2]
    ):
        stamp(canvas, text(words, _BODY, _FAINT), _MARGIN + chip.width + 20, 30 + index * _LINE)


def _draw_timeline(
    canvas: ImageHW3, cards: Sequence[Card], lanes: Sequence[str], colours: Mapping[str, Colour]
) -> None:
    """Draw a bar a card in the lane of its camera, with the card's number in it."""
    left, right = _MARGIN + _LANE_LEFT, _WIDTH - _MARGIN
    start_s, end_s = min(card.start_s for card in cards), max(card.end_s for card in cards)
    scale = (right - left - _LANE_HEIGHT) / max(end_s - start_s, 1e-3)
    bottom = _HEAD_HEIGHT + len(lanes) * _LANE_HEIGHT
    for at_s in _ticks(start_s, end_s):
        x = round(left + (at_s - start_s) * scale)
        cv2.line(canvas, (x, _HEAD_HEIGHT), (x, bottom), _RULE, 1)
        stamp(canvas, text(clock_time(at_s), _SMALL, _FAINT), x - 18, bottom + 3)
    for index, camera in enumerate(lanes):
        name = text(_shortened(camera, _LANE_LEFT - 14, _BODY), _BODY, _INK)
        stamp(canvas, name, left - 14 - name.width, _HEAD_HEIGHT + index * _LANE_HEIGHT + 3)
    for number, card in enumerate(cards, start=1):
        x = round(left + (card.start_s - start_s) * scale)
        width = max(_SHORTEST_BAR, round((card.end_s - card.start_s) * scale))
        top = _HEAD_HEIGHT + lanes.index(card.camera) * _LANE_HEIGHT + 3
        _fill(canvas, _Spot(x, top, width, _LANE_HEIGHT - 6), colours[card.camera], 4)
        digits = text(str(number), _SMALL, ink_on(colours[card.camera]), bold=True)
        if width > digits.width + 6:
            stamp(canvas, digits, x + 5, top + 2)


def _draw_card(canvas: ImageHW3, spot: _Spot, number: int, card: Card, colour: Colour) -> None:
    _fill(canvas, spot, _CARD, 10)
    x, y = spot.left + _PAD, spot.top + _PAD
    span = text(f"{clock_time(card.start_s)} – {clock_time(card.end_s)}", _SMALL, _FAINT)
    room = spot.width - 3 * _PAD - span.width
    chip = label(_shortened(f"{number} {card.camera}", room), _SMALL, ink_on(colour), colour)
    stamp(canvas, chip, x, y)
    stamp(canvas, span, spot.left + spot.width - _PAD - span.width, y + 2)
    y += 28
    _draw_crops(canvas, x, y, card, colour)
    y += _CROP_HEIGHT + 12
    stamp(canvas, text(_shortened(card.heading, spot.width - 2 * _PAD), _BODY, _INK, bold=True), x, y)
    y += 24
    for words in _wrapped(card.lines, spot.width - 2 * _PAD):
        stamp(canvas, text(words, _SMALL, _INK), x, y)
        y += _LINE
    if card.rival is not None:
        _draw_rival(canvas, x, y + 8, card)


def _draw_crops(canvas: ImageHW3, x: int, y: int, card: Card, colour: Colour) -> None:
    if not card.crops:
        _fill(canvas, _Spot(x, y, _CARD_WIDTH - 2 * _PAD, _CROP_HEIGHT), _EMPTY, 6)
        stamp(canvas, text("frames no longer kept", _SMALL, _FAINT), x + 12, y + _CROP_HEIGHT // 2 - 8)
    for index, crop in enumerate(card.crops[:MAX_CROPS]):
        left = x + index * (_CROP_WIDTH + _CROP_GAP)
        _place(canvas, crop, _Spot(left, y, _CROP_WIDTH, _CROP_HEIGHT))
        cv2.rectangle(canvas, (left, y), (left + _CROP_WIDTH - 1, y + _CROP_HEIGHT - 1), colour, 2)


def _draw_rival(canvas: ImageHW3, x: int, y: int, card: Card) -> None:
    assert card.rival is not None
    if card.rival.crop is not None:
        _place(canvas, card.rival.crop, _Spot(x, y, _RIVAL_WIDTH, _RIVAL_HEIGHT))
        x += _RIVAL_WIDTH + 10
    for index, words in enumerate(_rival_lines(card)):
        stamp(canvas, text(words, _SMALL, _FAINT), x, y + index * _LINE)


def _rival_lines(card: Card) -> list[str]:
    assert card.rival is not None
    beside = _RIVAL_WIDTH + 10 if card.rival.crop is not None else 0
    return _wrapped([card.rival.caption], _CARD_WIDTH - 2 * _PAD - beside)


def _place(canvas: ImageHW3, crop: ImageHW3, spot: _Spot) -> None:
    """Show a crop whole and undistorted on a grey panel, enlarged smoothly where it is small."""
    panel = canvas[spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    panel[:] = _EMPTY
    scale = min(spot.width / crop.shape[1], spot.height / crop.shape[0])
    width, height = (max(1, round(side * scale)) for side in (crop.shape[1], crop.shape[0]))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (spot.width - width) // 2, (spot.height - height) // 2
    panel[top : top + height, left : left + width] = cv2.resize(crop, (width, height), interpolation=way)


def _fill(canvas: ImageHW3, spot: _Spot, colour: Colour, radius: int) -> None:
    shape = round_rectangle(spot.width, spot.height, min(radius, spot.width // 2, spot.height // 2))
    stamp(canvas, tinted(shape, colour), spot.left, spot.top)


def _wrapped(sentences: Sequence[str], width: int, size: int = _SMALL) -> list[str]:
    """Break sentences into lines of at most `width` pixels, between words; a longer word is cut."""
    lines: list[str] = []
    for sentence in sentences:
        line = ""
        for word in sentence.split():
            longer = f"{line} {word}".strip()
            if line and text(longer, size, BLACK).width > width:
                lines.append(line)
                longer = word
            line = _shortened(longer, width, size)
        lines.append(line)
    return lines


def _shortened(words: str, width: int, size: int = _SMALL) -> str:
    sprite: Sprite = text(words, size, BLACK)
    if sprite.width <= width:
        return words
    kept = max(1, len(words) * width // sprite.width)
    while kept > 1 and text(f"{words[:kept]}…", size, BLACK).width > width:
        kept -= 1
    return f"{words[:kept]}…"


def _ticks(start_s: float, end_s: float) -> list[float]:
    """Choose round times, at most about _NUM_TICKS, at least one."""
    span_s = max(end_s - start_s, 1e-3)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
    step = next((one for one in steps if span_s / one <= _NUM_TICKS), span_s / _NUM_TICKS)
    first = ceil(start_s / step) * step
    return [first + index * step for index in range(int((end_s - first) / step) + 1)] or [start_s]
