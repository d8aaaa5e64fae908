"""Checks the instruments: a wrong ruler is worse than none."""

import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from models.detector import RawDetections
from tests.benchmarks.bench_lines import write_line
from tests.benchmarks.memory_plot import Sample, main, slope_mb_per_min, watch
from tests.benchmarks.plain_script import run_plain_script


class BrightSpots:
    """Finds white rectangles on black: a detector whose answer is known."""

    version = "bright-spots@1"
    class_names = ("person",)
    input_size = (120, 160)

    def detect(self, images):
        return [self._one(image) for image in images]

    def _one(self, image):
        height, width = image.shape[:2]
        mask = (image[:, :, 0] > 128).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        x, y, w, h = stats[1:, :4].T
        boxes = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], axis=1)
        return RawDetections(
            boxes.astype(np.float32), np.full(len(x), 0.9, np.float32), np.zeros(len(x), np.int64)
        )


class MeanColour:
    version = "mean-colour@1"
    dimension = 3

    def __init__(self):
        self.sizes = []

    def embed(self, crops):
        self.sizes += [crop.shape[:2] for crop in crops]
        return np.tile(np.float32([1, 0, 0]), (len(crops), 1))


def frame_of_two_walkers(step):
    image = np.zeros((120, 160, 3), np.uint8)
    image[20:60, 10 + step : 30 + step] = 255
    image[70:110, 120 - step : 140 - step] = 255
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_the_plain_script_tracks_each_camera_and_embeds_each_lasting_track_once():
    frames = [(camera, frame_of_two_walkers(step)) for step in range(12) for camera in ("east", "west")]
    embedder = MeanColour()
    run = run_plain_script(frames, BrightSpots(), embedder)
    assert (run.num_frames, run.num_detections, run.num_tracks) == (24, 48, 4)
    assert len(embedder.sizes) == 4
    assert all(abs(height - 40) <= 2 and abs(width - 20) <= 2 for height, width in embedder.sizes)
    assert 0 < sum(run.stage_s.values()) <= run.elapsed_s
    assert run.fps == pytest.approx(24 / run.elapsed_s)


def test_a_measurement_becomes_one_line_and_says_whether_it_reaches_its_goal(tmp_path, capsys):
    file = tmp_path / "runs" / "bench.jsonl"
    assert write_line("end_to_end", 18.0, 10.0, 1.8, 1.8, "frames/s", file=file)
    assert not write_line("memory", 5.0, 1.0, 0.2, 1.0, "MB/min", file=file)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"name": "end_to_end", "ours": 18.0, "peer": 10.0, "ratio": 1.8, "goal": 1.8, "unit": "frames/s"},
        {"name": "memory", "ours": 5.0, "peer": 1.0, "ratio": 0.2, "goal": 1.0, "unit": "MB/min"},
    ]
    first, second = capsys.readouterr().out.splitlines()
    assert "below goal" not in first
    assert "below goal" in second


def test_a_measurement_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="end_to_end: ratio is not a finite number"):
        write_line("end_to_end", 1.0, 0.0, float("inf"), 1.0, "frames/s", file=tmp_path / "bench.jsonl")
    assert not (tmp_path / "bench.jsonl").exists()


def test_the_slope_of_memory_leaves_the_warm_up_out():
    samples = [
        Sample(elapsed_s=t, rss_mb=0, private_mb=100 * min(t, 60) + 2 * t / 60, num_processes=1)
        for t in range(0, 600, 10)
    ]
    assert slope_mb_per_min(samples, warm_up_s=60) == pytest.approx(2.0)
    assert slope_mb_per_min(samples[:2], warm_up_s=0) is None


def test_memory_of_a_descendant_is_counted():
    child = "x = b'1' * 80_000_000; import time; time.sleep(30)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        samples = watch(parent.pid, interval_s=0.2, duration_s=2.0, on_sample=lambda _: None)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    assert samples[-1].num_processes == 2
    assert samples[-1].private_mb > 80


def test_a_command_that_grows_too_fast_fails_and_leaves_its_picture(tmp_path):
    leak = "import time\na = []\nfor i in range(10): a.append(b'x' * 2_000_000); time.sleep(0.1)"
    status = main(
        ["--out", str(tmp_path), "--interval-s", "0.1", "--warm-up-s", "0.2", "--max-slope", "10", "--",
         sys.executable, "-c", leak]
    )  # fmt: skip
    assert status == 3
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "memory.csv").read_text().startswith("elapsed_s,rss_mb,private_mb,num_processes\n")
