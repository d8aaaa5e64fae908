"""Makes several cameras out of one video: overlapping views, each with its own colours, JPEG quality and clock.

People walk from view to view on real pixels, and the truth of every view follows from the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detector import ImageHW3
from pipeline.errors import BadInput
from pipeline.evaluation.mot import MotRows, write_rows

OVERLAP: Final = 0.2
"""Share of the source's width and height that two neighbouring quadrants both see."""
SCORED_FRACTION: Final = 0.6
IGNORED_FRACTION: Final = 0.1
MIN_SCORED_SIZE: Final = (
    8.0,
    24.0,
)  # width, height in pixels of the view: less is no fair test of a detector


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCamera:
    """Describes one view of the source: what part it sees, and how it renders it."""

    camera: str
    """The camera's id."""
    left: int
    top: int
    crop_width: int
    crop_height: int
    """The part of the source seen, in source pixels."""
    width: int
    height: int
    """Size of the view in pixels."""
    gain: float = 1.0
    """Brightness: every channel is multiplied by it."""
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of blue, green and red."""
    jpeg_quality: int = 85
    clock_offset_s: float = 0.0
    """How far the camera's clock is ahead of the site's."""

    def __post_init__(self) -> None:
        sizes = (self.crop_width, self.crop_height, self.width, self.height)
        if min(sizes) < 1 or min(self.left, self.top) < 0:
            raise BadInput(
                f"virtual camera {self.camera} has left, top {self.left}, {self.top} and sizes {sizes}; "
                "expected a place inside the source and sizes of 1 or more"
            )

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the view a source pixel, horizontally and vertically."""
        return self.width / self.crop_width, self.height / self.crop_height


class ViewBoxes(NamedTuple):
    """Holds boxes as one view sees them."""

    boxes_N4: NDArray[np.float64]  # left, top, right, bottom in pixels of the view, clipped to it
    visible_N: NDArray[np.float64]  # share of each box's area inside the view, in [0, 1]


def four_quadrants(width: int, height: int) -> tuple[VirtualCamera, ...]:
    """Cover a source of `width` x `height` pixels by four overlapping views, each enlarged 1.6 times.

    Of a 768 x 576 source, neighbours share a band of 152 columns or 114 rows: room for a whole person. The
    ids fall into four partitions of 64, two in either half and two of either parity, so that two shards get
    two cameras each.
    """
    crop_width, crop_height = (int(side * (0.5 + OVERLAP / 2)) // 5 * 5 for side in (width, height))
    if min(crop_width, crop_height) < 10:
        raise BadInput(f"a source of {width} x {height} pixels is too small for four views")
    right, bottom = width - crop_width, height - crop_height
    styles = (
        ("north-west", 0, 0, 1.0, (1.0, 1.0, 1.0), 90, 0.0),
        ("north-east", right, 0, 0.8, (0.88, 1.0, 1.12), 80, 0.12),
        ("south-west", 0, bottom, 1.2, (1.12, 1.0, 0.9), 70, -0.21),
        ("south-east", right, bottom, 0.9, (0.95, 1.08, 0.95), 95, 0.27),
    )
    return tuple(
        VirtualCamera(
            camera=camera, left=left, top=top, crop_width=crop_width, crop_height=crop_height,
            width=crop_width * 8 // 5, height=crop_height * 8 // 5, gain=gain, white_balance=balance,
            jpeg_quality=quality, clock_offset_s=offset_s,
        )
        for camera, left, top, gain, balance, quality, offset_s in styles
    )  # fmt: skip


def render(camera: VirtualCamera, frame: ImageHW3) -> ImageHW3:
    """Show what the camera sees of a source frame (H x W x 3, uint8, BGR); returns the view, likewise.

    Raises:
        BadInput: the camera's crop reaches beyond the frame.
    """
    right, bottom = camera.left + camera.crop_width, camera.top + camera.crop_height
    if right > frame.shape[1] or bottom > frame.shape[0]:
        raise BadInput(
            f"virtual camera {camera.camera} sees up to column {right} and row {bottom}, "
            f"the frame has {frame.shape[1]} x {frame.shape[0]} pixels"
        )
    # Colours first: the table is looked up 2.6 times less often than after enlarging.
    crop = cv2.LUT(frame[camera.top : bottom, camera.left : right], _colour_table(camera))
    view = cv2.resize(crop, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(view, np.uint8)


def to_view(camera: VirtualCamera, boxes_N4: NDArray[np.floating]) -> ViewBoxes:
    """Take boxes from source pixels (left, top, right, bottom) to the view's, clipped, with their visible share."""
    boxes_N4 = np.asarray(boxes_N4, np.float64).reshape(-1, 4)
    offset = np.array([camera.left, camera.top] * 2, np.float64)
    limit = np.array([camera.width, camera.height] * 2, np.float64)
    whole_N4 = (boxes_N4 - offset) * np.array(camera.scale * 2)
    clipped_N4 = np.clip(whole_N4, 0.0, limit)
    whole_N, clipped_N = _areas(whole_N4), _areas(clipped_N4)
    visible_N = np.divide(clipped_N, whole_N, out=np.zeros_like(whole_N), where=whole_N > 0)
    return ViewBoxes(clipped_N4, np.minimum(visible_N, 1.0))


def view_truth(camera: VirtualCamera, truth: MotRows) -> MotRows:
    """Derive a view's truth from the source's, keeping ids, which thereby hold across the views.

    A box of which at least 0.6 is visible is scored (confidence 1) unless the source's truth says otherwise
    or little is left of it; from 0.1 on it is not to be scored (confidence 0); below it is left out.
    """
    boxes_R4, visible_R = to_view(camera, truth.boxes_R4)
    sizes_R2 = boxes_R4[:, 2:] - boxes_R4[:, :2]
    scored_R = (visible_R >= SCORED_FRACTION) & (sizes_R2 >= MIN_SCORED_SIZE).all(1)
    confidences_R = np.where(scored_R & (truth.confidences_R > 0), 1.0, 0.0)
    # A box that rounds to nothing in thousandths of a pixel could not be read back.
    keep_R = (visible_R >= IGNORED_FRACTION) & (sizes_R2 >= 0.01).all(1)
    return MotRows(truth.frames_R, truth.ids_R, boxes_R4, confidences_R)[keep_R]


def write_truth(
    folder: Path, cameras: Sequence[VirtualCamera], truth: MotRows, *, num_frames: int, frame_rate: float
) -> None:
    """Write each view's truth as a MOTChallenge sequence `<folder>/<camera>`; frame = sequence number + 1.

    Truth beyond `num_frames` is left out, so that a shortened run is scored on what it saw.
    """
    truth = truth[truth.frames_R <= num_frames]
    for camera in cameras:
        place = folder / camera.camera
        (place / "gt").mkdir(parents=True, exist_ok=True)
        write_rows(place / "gt" / "gt.txt", view_truth(camera, truth))
        (place / "seqinfo.ini").write_text(
            f"[Sequence]\nname={camera.camera}\nimDir=img1\nframeRate={frame_rate:g}\nseqLength={num_frames}\n"
            f"imWidth={camera.width}\nimHeight={camera.height}\nimExt=.jpg\n",
            encoding="utf-8",
        )


def _colour_table(camera: VirtualCamera) -> NDArray[np.uint8]:
    levels_256 = np.arange(256, dtype=np.float64)[:, None] * camera.gain * np.array(camera.white_balance)
    table: NDArray[np.uint8] = np.clip(np.rint(levels_256), 0, 255).astype(np.uint8)[None]
    return table


def _areas(boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes_N2 = np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 0.0)
    return sizes_N2[:, 0] * sizes_N2[:, 1]
