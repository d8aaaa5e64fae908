"""Cuts people out of the frames that the log still keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from cluster.frame_reader import read_frames
from cluster.log.protocol import Log, Record
from models.detector import ImageHW3
from pipeline.errors import BadFrame, BadInput
from pipeline.frames import FrameHeader, check_jpeg
from pipeline.frames import decode as decode_jpeg
from pipeline.guard import FrameConfig
from pipeline.pictures.moments import Moment, cut
from pipeline.records import FrameRef


def cut_out(
    log: Log | None, picks: Iterable[Moment], how: Callable[[ImageHW3, Moment], ImageHW3] = cut
) -> dict[Moment, ImageHW3]:
    """Cut the people of these moments out of their frames; those whose frames the log no longer keeps are absent."""
    wanted: dict[FrameRef, list[Moment]] = {}
    for moment in picks:
        wanted.setdefault(moment.frame, []).append(moment)
    found: dict[Moment, ImageHW3] = {}
    if log is None:
        return found
    with contextlib.suppress(BadInput):  # a log without the topic has no frames
        for frame, record in read_frames(log, wanted):
            found.update(_cut_all(record, wanted[frame], how))
    return found


def _cut_all(
    record: Record, moments: Sequence[Moment], how: Callable[[ImageHW3, Moment], ImageHW3]
) -> Iterator[tuple[Moment, ImageHW3]]:
    try:
        header = FrameHeader.from_headers(record.headers)
        check_jpeg(record.value, FrameConfig().max_pixels)
        image = decode_jpeg(record.value)
    except BadFrame:
        return
    for moment in moments:
        # The log may have been written anew since: the same place then holds another frame.
        if (header.camera, header.captured_ns) == (moment.camera, moment.at_ns):
            crop = how(image, moment)
            if crop.size:
                yield moment, crop
