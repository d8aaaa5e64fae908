"""Holds what an operator might say of the sample video: who wears the jacket that the site is taught.

Frames are numbered from 0, points are pixels of the video. The wearer crosses the square twice; the class is taught on
the first crossing, and looked for on the second.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CLASS: Final = "team jacket"
"""Red shoulders and sleeves on navy."""


class Click(NamedTuple):
    """Points at somebody in a frame of the video."""

    frame: int
    x: int
    y: int


TAUGHT: Final = (
    Click(30, 647, 302), Click(60, 485, 248), Click(90, 474, 196), Click(120, 574, 159), Click(150, 646, 136),
    Click(180, 688, 129), Click(210, 674, 130), Click(240, 651, 147), Click(270, 614, 165), Click(300, 596, 197),
    Click(330, 629, 239), Click(350, 686, 268),
)  # fmt: skip
LOOKED_FOR: Final = (
    Click(540, 259, 454), Click(580, 255, 402), Click(600, 476, 358), Click(620, 598, 312), Click(640, 661, 255),
    Click(660, 633, 218), Click(720, 314, 203), Click(740, 282, 237), Click(760, 256, 281),
)  # fmt: skip
SHOWN_FRAME: Final = 640
"""Of the second crossing, for the picture."""
LAST_FRAME: Final = 780
"""A run that ends before it is too short for the lesson."""
FIRST_LOOKED_AT: Final = 400
"""Frames before it are taught from, those from it on are judged by."""
