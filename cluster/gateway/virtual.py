"""Streams a whole virtual site: one video, decoded once, becomes the frames of several cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from cluster.gateway.cameras import ReaderLag
from cluster.gateway.config import GatewayConfig
from cluster.gateway.delivery import Delivery
from cluster.gateway.gateway import Encoded, Gateway
from cluster.gateway.outbox import PatientOutbox
from cluster.gateway.pacing import NS_PER_S, Clock, LagLimit, Pace, Pacer, Stop
from cluster.gateway.sources import Looped, VideoFile
from cluster.gateway.stats import GatewayObserver, GatewayStats
from cluster.log.open import open_log
from cluster.log.protocol import Log
from cluster.logs import log_as_json
from models.detector import ImageHW3
from pipeline.virtual_cameras import VirtualCamera, render


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualSite:
    """Says what is streamed, and how fast; plain values, so that another process can be given it."""

    video: Path
    cameras: tuple[VirtualCamera, ...]
    topic: str
    """Name of the frame topic."""
    num_frames: int | None = None
    """Frames of the video that are streamed at most; each makes one frame a camera."""
    loop: bool = False
    """Starts the video again at its end, with time going on."""
    pace: Pace = "fast"
    """`source` streams at the video's frame rate, `fast` as fast as log and readers take it."""
    reader_lag: ReaderLag | None = None
    """At pace `fast`: how far all cameras together may run ahead of the readers."""
    num_threads: int = 1
    """Threads that render and encode; more finish sooner, and take the cores from whoever reads the frames."""


def stream_virtual_site(
    site: VirtualSite,
    opening_log: Callable[[], Log],
    stop: Stop | None = None,
    *,
    clock: Clock | None = None,
    observer: GatewayObserver | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, GatewayStats]:
    """Stream the site's cameras until the video ends or `stop` is set; blocks, drops nothing.

    All cameras share the site's clock, each with its own offset. The cameras' streams are ended by
    end-of-stream records, except when stopped. To run it in a process of its own, pass
    `functools.partial(open_log, url)` and a `multiprocessing.Event`.

    Args:
        site: what to stream.
        opening_log: builds the log in this process.
        stop: ends the streams early.
        clock: the site's clock.
        observer: is told of every frame.
        on_progress: is called with the number of video frames streamed so far.

    Returns:
        What each camera's gateway has counted.

    Raises:
        SourceUnavailable: the video cannot be read.
        BadInput: the topic does not exist, or a camera looks beyond the video's frame.
        LogUnavailable: at the end, the log did not take the rest in time.
    """
    clock = clock or Clock()
    stop = stop or threading.Event()
    log = opening_log()
    delivery = Delivery(log.producer, site.topic, clock)
    gateways = {
        camera.camera: Gateway(
            _config(site, camera), PatientOutbox(delivery, stop, clock), stop, clock=clock, observer=observer
        )
        for camera in site.cameras
    }
    try:
        with _executor(site.num_threads) as executor:
            # A whole second: identities are decided, and places noted, at whole parts of seconds, so that two runs
            # of one video tell the same story.
            start_ns = clock.now_ns() // NS_PER_S * NS_PER_S
            finished = _stream(site, gateways, _gate(site, log, stop, clock), start_ns, executor, on_progress)
        for gateway in gateways.values() if finished else ():
            gateway.end()
        return {camera: gateway.stats for camera, gateway in gateways.items()}
    finally:
        delivery.close()
        log.close()


def run_virtual_gateway(site: VirtualSite, log: str, stop: Stop) -> None:
    """Be the main function of a process of its own, which starts fast: nothing imported here knows Ray or torch."""
    log_as_json()
    stream_virtual_site(site, partial(open_log, log), stop)


def _stream(
    site: VirtualSite,
    gateways: dict[str, Gateway],
    may_go: Callable[[float], bool],
    start_ns: int,
    executor: Executor | None,
    on_progress: Callable[[int], None] | None,
) -> bool:
    """Send frame after frame; return False when told to stop."""
    video = VideoFile(site.video)
    captures = (Looped(video) if site.loop else video).captures()
    with closing(captures):
        for num_done, capture in enumerate(islice(captures, site.num_frames), start=1):
            assert capture.media_s is not None
            if not may_go(capture.media_s):
                return False
            captured_ns = start_ns + round(capture.media_s * NS_PER_S)
            for camera, frame in _views(site, gateways, capture.load(), executor):
                gateways[camera].send_encoded(frame, captured_ns)
            if on_progress is not None:
                on_progress(num_done)
    return True


def _views(
    site: VirtualSite, gateways: dict[str, Gateway], image: ImageHW3, executor: Executor | None
) -> Iterable[tuple[str, Encoded]]:
    def view(camera: VirtualCamera) -> tuple[str, Encoded]:
        return camera.camera, gateways[camera.camera].encode(render(camera, image))

    return map(view, site.cameras) if executor is None else executor.map(view, site.cameras)


def _gate(site: VirtualSite, log: Log, stop: Stop, clock: Clock) -> Callable[[float], bool]:
    """Return what lets a frame of a media time go, and answers False when told to stop."""
    if site.pace == "source":
        pacer = Pacer(clock, clock.now_ns())
        return lambda media_s: pacer.wait(media_s, stop)
    if site.reader_lag is None:
        return lambda _: not stop.is_set()
    keys = [camera.camera.encode() for camera in site.cameras]
    limit = LagLimit(log, site.reader_lag.group, site.topic, keys, site.reader_lag.max_records, clock)
    return lambda _: limit.wait(stop, len(keys))


def _config(site: VirtualSite, camera: VirtualCamera) -> GatewayConfig:
    return GatewayConfig(
        camera=camera.camera, pace=site.pace, jpeg_quality=camera.jpeg_quality, clock_offset_s=camera.clock_offset_s
    )  # fmt: skip


@contextmanager
def _executor(num_threads: int) -> Iterator[Executor | None]:
    if num_threads == 1:
        yield None
        return
    with ThreadPoolExecutor(num_threads, thread_name_prefix="virtual-camera") as executor:
        yield executor
