"""Writes pictures into an MP4 file that browsers play."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from cluster.errors import OutputUnavailable
from models.detector import ImageHW3
from pipeline.errors import BadInput

_BT709: Final = 1  # the code of ITU-R BT.709 in H.273, for colour matrix, primaries and transfer alike
_MPEG4_BIT_RATE: Final = 4_000_000
_FAILURES: Final = (OSError, av.FFmpegError)  # FFmpeg's errors are only partly operating-system errors


class VideoWriter:
    """Writes BGR pictures of one size into an MP4: H.264 in yuv420p with its index in front.

    The file is written aside and takes its name when the `with` block ends well: a crash leaves nothing at
    `path`, and whatever stood there before stays; so does ending without a picture. Where PyAV was built without libx264 the codec is MPEG-4.

    Raises:
        BadInput: the size is odd or not positive, or the rate is not positive.
        OutputUnavailable: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int, *, crf: int = 23) -> None:
        if width <= 0 or height <= 0 or width % 2 or height % 2:
            raise BadInput(
                f"the video would be {width} x {height}; expected even numbers above 0, as yuv420p needs"
            )
        if not 0 < fps <= 1000:
            raise BadInput(
                f"the video would have {fps} frames a second; expected more than 0 and at most 1000"
            )
        self.path = path
        self.num_frames = 0
        self._shape = height, width, 3
        self._aside = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._aside), "w", format="mp4", options={"movflags": "+faststart"})
        except _FAILURES as error:
            raise self._unavailable(error) from error
        self._stream = self._add_stream(Fraction(fps).limit_denominator(1001), crf)

    def _add_stream(self, rate: Fraction, crf: int) -> av.VideoStream:
        try:
            stream = self._container.add_stream(
                "libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"}
            )
        except UnknownCodecError:
            stream = self._container.add_stream("mpeg4", rate=rate, bit_rate=_MPEG4_BIT_RATE)
        stream.height, stream.width, _ = self._shape
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def write(self, image: ImageHW3) -> None:
        """Add one H x W x 3 picture, uint8 BGR; it may be drawn over afterwards.

        Raises:
            BadInput: the picture is not of the video's size and type.
            OutputUnavailable: the disk is full or gone.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise BadInput(
                f"the picture is {image.shape} {image.dtype}; this video needs {self._shape} uint8, BGR"
            )
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts = self.num_frames
        frame.time_base = 1 / self._stream.codec_context.framerate
        frame.pict_type = PictureType.NONE
        try:
            self._container.mux(self._stream.encode(frame))
        except _FAILURES as error:
            raise self._unavailable(error) from error
        self.num_frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close(keep=kind is None and self.num_frames > 0)
        except _FAILURES as failure:
            if kind is None:
                raise self._unavailable(failure) from failure
        finally:
            self._aside.unlink(missing_ok=True)

    def _close(self, keep: bool) -> None:
        try:
            if keep:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        if keep:
            self._aside.replace(self.path)

    def _unavailable(self, error: OSError | av.FFmpegError) -> OutputUnavailable:
        return OutputUnavailable(
            f"cannot write {self.path}: {error.strerror or error}; check that the folder is writable and has room"
        )
