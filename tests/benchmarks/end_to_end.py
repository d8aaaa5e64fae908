"""Measures the whole pipeline, from the log to identities, against its own detector and against a plain script."""

from __future__ import annotations

import statistics
import tempfile
import time

from cluster.metrics_directory import make_metrics_directory

make_metrics_directory()

from cluster.config import CameraConfig, SiteConfig  # noqa: E402  # prometheus_client reads the environment at import
from cluster.demo.report import bare_detector_fps  # noqa: E402
from cluster.gateway.virtual import VirtualSite, stream_virtual_site  # noqa: E402
from cluster.log.open import open_log  # noqa: E402
from cluster.sample_video import SAMPLE_VIDEO  # noqa: E402
from cluster.site import Site  # noqa: E402
from cluster.topics import Topics  # noqa: E402
from models.embedders import build_embedder  # noqa: E402
from pipeline.virtual_cameras import four_quadrants  # noqa: E402
from tests.benchmarks.bench_lines import write_line  # noqa: E402
from tests.benchmarks.plain_script import EagerNanoDet, run_plain_script  # noqa: E402

VIDEO_SIZE = (768, 576)


class NeverStop:
    """Is a stop that never comes."""

    def is_set(self) -> bool:
        """Never."""
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Never."""
        return False


def bench_end_to_end(num_frames: int, rounds: int, kafka: str | None) -> None:
    """Compare on the embedded log, and on a Kafka when there is one."""
    with tempfile.TemporaryDirectory() as folder:
        logs = {"sqlite": f"sqlite:///{folder}/bench.db"}
        if kafka:
            logs["kafka"] = f"kafka://{kafka}"
        for name, url in logs.items():
            compare_end_to_end(name, url, num_frames, rounds)


def compare_end_to_end(name: str, log_url: str, num_frames: int, rounds: int) -> None:
    """Process the same JPEGs with the site (fused), with the detector alone, and with the plain script."""
    bare, plain, ours = [], [], []
    for index in range(rounds):
        config = site_config(log_url, prefix=f"bench-{time.time_ns():x}-{index}-")
        frames = fill_log(config, num_frames)
        bare.append(bare_detector_fps(config, [jpeg for _, jpeg in frames]))
        ours.append(site_fps(config))
        plain.append(run_plain_script(frames, EagerNanoDet(), build_embedder(config.embedder)).fps)
    for peer, peer_fps, goal in (("bare detector", bare, 0.75), ("plain script", plain, 1.8)):
        # Ratios are taken round by round: a shared machine changes its speed from minute to minute.
        ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, peer_fps, strict=True))
        write_line(
            f"end to end / {peer}, {name}", statistics.median(ours), statistics.median(peer_fps), ratio, goal,
            "frames/s",
        )  # fmt: skip


def site_config(log_url: str, prefix: str) -> SiteConfig:
    """Describe a site of the four virtual cameras."""
    cameras = tuple(CameraConfig(id=camera.camera) for camera in four_quadrants(*VIDEO_SIZE))
    return SiteConfig(log=log_url, topic_prefix=prefix, cameras=cameras, metrics_port=-1)


def fill_log(config: SiteConfig, num_frames: int) -> list[tuple[str, bytes]]:
    """Put the frames into the log beforehand, so that encoding them is not measured; return them too."""
    topics = Topics.with_prefix(config.topic_prefix)
    log = open_log(config.log)
    log.create_topics(topics.declare())
    virtual = VirtualSite(
        video=SAMPLE_VIDEO, cameras=four_quadrants(*VIDEO_SIZE), topic=topics.frames, num_frames=num_frames
    )
    stream_virtual_site(virtual, lambda: open_log(config.log), NeverStop())
    frames = [
        (record.key.decode(), record.value)
        for record in log.read(topics.frames)
        if record.key and record.value
    ]
    log.close()
    return frames


def site_fps(config: SiteConfig) -> float:
    """Process all frames in the log, and return frames a second from the first batch's results to the last's."""
    with Site(config, give_up_after=3) as site:
        site.wait_until_drained(timeout_s=600)
        written_ms = [record.timestamp_ms for record in site.log.read(site.topics.tracks)]
    first_ms, last_ms = min(written_ms), max(written_ms)
    return sum(at_ms > first_ms for at_ms in written_ms) / ((last_ms - first_ms) / 1e3)
