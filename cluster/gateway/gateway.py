"""Sends the pictures of one camera to the log: capture, pace, encode, produce."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from contextlib import closing
from typing import NamedTuple

import cv2
import simplejpeg

from cluster.errors import LogUnavailable, SourceUnavailable
from cluster.gateway.config import GatewayConfig
from cluster.gateway.delivery import Outgoing
from cluster.gateway.outbox import Outbox
from cluster.gateway.pacing import NS_PER_S, Backoff, Clock, LagLimit, Pacer, RateLimit, Stop
from cluster.gateway.sources import MAX_PIXELS, Capture, Source
from cluster.gateway.stats import DropReason, GatewayObserver, GatewayStats, Unobserved
from models.detector import ImageHW3
from pipeline.errors import BadFrame
from pipeline.frames import FrameHeader, check_jpeg

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Is a frame as it is sent."""

    jpeg: bytes
    width: int  # pixels
    height: int  # pixels
    encode_s: float  # 0 for a JPEG passed through


class Gateway:
    """Sends one camera's frames as records of a topic, keyed by the camera's id; one thread at a time.

    Sequence numbers count captured frames, so whatever is dropped leaves a gap that the tracker sees.
    """

    def __init__(
        self,
        config: GatewayConfig,
        outbox: Outbox,
        stop: Stop,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        observer: GatewayObserver | None = None,
        lag_limit: LagLimit | None = None,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._stop = stop
        self._clock = clock or Clock()
        self._observer = observer or Unobserved()
        self._lag_limit = lag_limit
        self._backoff = Backoff(config.reconnect_first_s, config.reconnect_max_s, rng or random.Random())
        self._rate_limit = RateLimit(config.max_fps) if config.max_fps else None
        self._epoch = self._clock.now_ns()
        self._size = (0, 0)
        self._captured_ns = self._epoch
        self._num_captured = 0
        self._num_reconnects = 0
        self._num_bytes = 0
        self._encode_s = 0.0
        self._dropped: Counter[DropReason] = Counter()
        self._num_lost = 0

    @property
    def stats(self) -> GatewayStats:
        """What has been counted so far; may be asked from any thread."""
        num_taken, num_lost = self._outbox.counts(self._config.camera)
        dropped = self._dropped + Counter({DropReason.LOG_AWAY: num_lost})
        return GatewayStats(
            captured=self._num_captured, produced=num_taken - num_lost, buffered=self._outbox.num_waiting,
            dropped=dict(dropped), reconnects=self._num_reconnects,
            num_bytes=self._num_bytes, encode_s=self._encode_s,
        )  # fmt: skip

    def run(self, source: Source) -> GatewayStats:
        """Send the source's frames until it ends or the gateway is told to stop.

        A live source that dies is opened again for ever, with back-off. A recording that ends is closed by an
        end-of-stream record; one that is stopped is not, because it may go on elsewhere.

        Raises:
            SourceUnavailable: a recording cannot be read.
            LogUnavailable: at the end, the log did not take the rest within `flush_timeout_s`.
        """
        if source.live:
            self._follow(source)
            self._flush()
        elif self._play(source):
            self.end()
        else:
            self._flush()
        logger.info("gateway finished", extra={"camera": self._config.camera, "stats": self.stats})
        return self.stats

    def send(self, image: ImageHW3, captured_ns: int) -> None:
        """Encode and send a picture (H x W x 3, uint8, BGR) taken at `captured_ns` on the gateway's clock."""
        self.send_encoded(self.encode(image), captured_ns)

    def encode(self, image: ImageHW3) -> Encoded:
        """Scale and compress a picture (H x W x 3, uint8, BGR); counts nothing, so any thread may do it."""
        started_s = time.perf_counter()
        height, width = image.shape[:2]
        if self._config.max_width is not None and width > self._config.max_width:
            height = max(1, round(height * self._config.max_width / width))
            width = self._config.max_width
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        jpeg = simplejpeg.encode_jpeg(image, self._config.jpeg_quality, "BGR", "420", fastdct=True)
        return Encoded(jpeg, width, height, time.perf_counter() - started_s)

    def send_encoded(self, frame: Encoded, captured_ns: int) -> None:
        """Send a frame that `encode` made."""
        self._produce(frame, self._count_captured(), captured_ns)

    def end(self) -> None:
        """Send the end-of-stream record, and wait until the log has everything.

        Raises:
            LogUnavailable: the log did not take the rest within `flush_timeout_s`.
        """
        last = self._header(self._num_captured, self._captured_ns, *self._size, ended=True)
        self._drop(DropReason.LOG_AWAY, self._outbox.put(Outgoing(b"", last)))
        self._flush()

    def _play(self, source: Source) -> bool:
        """Send a recording; return False when told to stop."""
        start_ns = self._clock.now_ns()
        pacer = Pacer(self._clock, start_ns)
        with closing(source.captures()) as captures:
            for capture in captures:
                assert capture.media_s is not None
                if not self._may_go(capture.media_s, pacer):
                    return False
                self._take(capture, start_ns + round(capture.media_s * NS_PER_S))
        return True

    def _may_go(self, media_s: float, pacer: Pacer) -> bool:
        if self._config.pace == "source":
            return pacer.wait(media_s, self._stop)
        return not self._stop.is_set() if self._lag_limit is None else self._lag_limit.wait(self._stop)

    def _follow(self, source: Source) -> None:
        """Send a live source's frames until told to stop, opening it again whenever it dies."""
        lost = False
        while not self._stop.is_set():
            try:
                with closing(source.captures()) as captures:
                    for capture in captures:
                        if lost:
                            lost = False
                            self._back()
                        self._take(capture, self._clock.now_ns())
                        if self._stop.is_set():
                            return
            except SourceUnavailable as error:
                lost = True
                self._lost(error)

    def _lost(self, error: SourceUnavailable) -> None:
        retry_s = self._backoff.next_s()
        self._observer.source_lost(self._config.camera, error)
        fields = {"camera": self._config.camera, "error": str(error), "retry_s": round(retry_s, 3)}
        logger.warning("source lost", extra=fields)
        self._clock.wait(self._stop, retry_s)

    def _back(self) -> None:
        self._backoff.reset()
        self._num_reconnects += 1
        self._observer.source_back(self._config.camera)
        logger.info("source back", extra={"camera": self._config.camera})

    def _take(self, capture: Capture, captured_ns: int) -> None:
        sequence = self._count_captured()
        if self._rate_limit and not self._rate_limit.admits(captured_ns):
            self._drop(DropReason.MAX_FPS)
            return
        try:
            frame = self._encode_capture(capture)
        except BadFrame as error:
            self._drop(DropReason.UNREADABLE)
            fields = {"camera": self._config.camera, "sequence": sequence, "error": str(error)}
            logger.warning("picture skipped", extra=fields)
            return
        self._produce(frame, sequence, captured_ns)

    def _encode_capture(self, capture: Capture) -> Encoded:
        if capture.read_jpeg is not None:
            jpeg = capture.read_jpeg()
            width, height = check_jpeg(jpeg, MAX_PIXELS)
            if self._config.max_width is None or width <= self._config.max_width:
                return Encoded(jpeg, width, height, 0.0)
        return self.encode(capture.load())

    def _count_captured(self) -> int:
        self._num_captured += 1
        self._observer.captured(self._config.camera)
        return self._num_captured - 1

    def _produce(self, frame: Encoded, sequence: int, captured_ns: int) -> None:
        self._encode_s += frame.encode_s
        self._size = (frame.width, frame.height)
        self._captured_ns = captured_ns
        self._observer.encoded(self._config.camera, len(frame.jpeg), frame.encode_s)
        if len(frame.jpeg) > self._config.max_bytes:
            self._drop(DropReason.TOO_LARGE)
            return
        self._num_bytes += len(frame.jpeg)
        header = self._header(sequence, captured_ns, frame.width, frame.height)
        self._drop(DropReason.LOG_AWAY, self._outbox.put(Outgoing(frame.jpeg, header)))
        self._tell_lost()

    def _header(
        self, sequence: int, captured_ns: int, width: int, height: int, ended: bool = False
    ) -> FrameHeader:
        return FrameHeader(
            camera=self._config.camera, sequence=sequence, produced_ns=0, epoch=self._epoch,
            captured_ns=captured_ns + round(self._config.clock_offset_s * NS_PER_S),
            width=width, height=height, ended=ended,
        )  # fmt: skip

    def _drop(self, reason: DropReason, num_frames: int = 1) -> None:
        if num_frames:
            self._dropped[reason] += num_frames
            self._observer.dropped(self._config.camera, reason, num_frames)

    def _tell_lost(self) -> None:
        num_lost = self._outbox.counts(self._config.camera).lost
        if num_lost > self._num_lost:
            self._observer.dropped(self._config.camera, DropReason.LOG_AWAY, num_lost - self._num_lost)
            self._num_lost = num_lost

    def _flush(self) -> None:
        flushed = self._outbox.flush(self._config.flush_timeout_s)
        self._tell_lost()
        if not flushed and not self._stop.is_set():
            raise LogUnavailable(
                f"the log did not take the rest of camera {self._config.camera} within "
                f"{self._config.flush_timeout_s:g} s; its last frames may be lost"
            )
