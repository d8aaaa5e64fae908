"""Kills parts of a running site, and takes the log away from it: nothing may be lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.brokers import OwnBroker, free_port, jars_are_there
from tests.cluster.conftest import ROOT, Camweave

NUM_FRAMES = 60
OUTAGE_S = float(os.environ.get("CAMWEAVE_TEST_OUTAGE_S", "8"))
"""How long a broker stays away; `make test-outage` takes a minute."""
pytestmark = pytest.mark.ray


class RunningDemo:
    """Is a demo in a process of its own, watched from outside."""

    def __init__(self, video: Path, out: Path, *more: str) -> None:
        arguments = ["demo", "--video", str(video), "--frames", str(NUM_FRAMES), "--out", str(out), "--json"]
        self.out = out
        self.errors = (out.parent / f"{out.name}.err").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", *arguments, "--no-pictures", *more], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    def wait_for(self, what: str, condition: Callable[[], Any], timeout_s: float = 90) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert self.process.poll() is None, f"the demo ended while waiting for {what}: {self.said()}"
            assert time.monotonic() < deadline_s, f"no {what} within {timeout_s} s: {self.said()}"
            time.sleep(0.1)
        return found

    def actor(self, name: str) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if f"ray::{name}" in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-4000:]

    def report(self, timeout_s: float = 180) -> dict[str, Any]:
        printed, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, self.said()
        report: dict[str, Any] = json.loads(printed)
        return report

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


@pytest.fixture
def start_demo(video: Path, tmp_path: Path) -> Iterator[Callable[..., RunningDemo]]:
    running: list[RunningDemo] = []

    def start(*more: str) -> RunningDemo:
        running.append(RunningDemo(video, tmp_path / "out", *more))
        return running[-1]

    yield start
    for demo in running:
        demo.close()


def test_actors_killed_in_mid_stream_cost_no_frame(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo()
    victims = [
        demo.wait_for(name, lambda name=name: demo.actor(name)) for name in ("ShardActor", "GalleryActor")
    ]
    database = demo.out / "log.db"
    demo.wait_for("frames in the log", lambda: database.exists() and database.stat().st_size > 2_000_000)
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    report = demo.report()
    assert report["frames_processed"] == 4 * NUM_FRAMES
    assert report["frames_lost"] == 0
    assert demo.said().count("going on in another") >= len(victims)


def test_a_broker_that_is_down_at_the_start_is_named_at_once(
    camweave: Camweave, video: Path, tmp_path: Path
) -> None:
    port = free_port()
    result = camweave(
        "demo", "--video", video, "--kafka", f"127.0.0.1:{port}", "--out", tmp_path, timeout_s=60
    )
    assert result.returncode == 1
    assert re.search(rf"camweave: no Kafka broker at 127\.0\.0\.1:{port}", result.stderr)
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def mortal_broker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A broker that tests may kill; they start it again."""
    if not jars_are_there():
        pytest.skip("needs Kafka's jars to start a second broker: run `python scripts/kafka.py fetch`")
    broker = OwnBroker(free_port(), tmp_path_factory.mktemp("kafka"))
    try:
        broker.run("start")
        yield broker
    finally:
        broker.run("stop")


def _workers_start(demo: RunningDemo, _num_new_bytes: int) -> bool:
    return demo.actor("ShardActor") is not None


def _frames_are_in_the_log(_demo: RunningDemo, num_new_bytes: int) -> bool:
    return num_new_bytes > 2_000_000


@pytest.mark.kafka
@pytest.mark.parametrize("moment", [_workers_start, _frames_are_in_the_log])
def test_a_broker_that_is_killed_and_comes_back_costs_no_frame(
    moment: Callable[[RunningDemo, int], bool],
    start_demo: Callable[..., RunningDemo],
    mortal_broker: OwnBroker,
) -> None:
    mortal_broker.run("start")
    before = _bytes_in(mortal_broker.data, "frames")
    demo = start_demo("--kafka", f"127.0.0.1:{mortal_broker.port}")
    demo.wait_for(moment.__name__, lambda: moment(demo, _bytes_in(mortal_broker.data, "frames") - before))
    mortal_broker.kill()
    time.sleep(OUTAGE_S)
    mortal_broker.run("start")
    report = demo.report()
    assert report["frames_processed"] == 4 * NUM_FRAMES
    assert report["frames_lost"] == 0


def _bytes_in(data: Path, topic: str) -> int:
    return sum(file.stat().st_size for file in data.rglob("*.log") if topic in file.parent.name)


def test_a_site_of_your_own_goes_on_without_its_broken_cameras_and_serves_metrics(
    video: Path, tmp_path: Path
) -> None:
    port = free_port()
    site = tmp_path / "site.yaml"
    site.write_text(f"""
site: yard
log: sqlite:///{tmp_path}/site.db
metrics_port: {port}
camera_patience_s: 2
cameras:
  - id: good
    source: {{url: {video}}}
    gateway: {{pace: fast}}
  - id: missing
    source: {tmp_path}/nowhere.mp4
  - id: unplugged
    source: {{url: "rtsp://127.0.0.1:{free_port()}/none", read_timeout_s: 1}}
""")
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.cli", "run", "--config", str(site), "--json"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    try:
        metrics = _wait_for_metrics(process, port, 'camweave_frames_processed_total{camera="good"}')
        assert 'camweave_source_losses_total{camera="unplugged"}' in metrics
        assert "camweave_stage_seconds_bucket" in metrics
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, said[-3000:]
    assert json.loads(printed)["frames_processed_total"]["good"] > 0
    assert "nowhere.mp4" in said


def _wait_for_metrics(process: "subprocess.Popen[str]", port: int, wanted: str, timeout_s: float = 90) -> str:
    deadline_s = time.monotonic() + timeout_s
    text = ""
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except OSError:
            time.sleep(0.3)
            continue
        if wanted in text and 'source_losses_total{camera="unplugged"}' in text:
            return text
        time.sleep(0.3)
    raise AssertionError(f"{wanted} did not appear in /metrics within {timeout_s} s:\n{text[-2000:]}")
