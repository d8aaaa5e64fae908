"""Runs the whole demonstration on real parts: video, gateway process, log, Ray, networks, pictures."""

import json
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.records import FrameResult, IdentityDecision, decode
from tests.cluster.conftest import Camweave, report_of

NUM_FRAMES = 30
pytestmark = pytest.mark.ray


def run_demo(camweave: Camweave, video: Path, out: Path, *more: object) -> dict[str, Any]:
    return report_of(
        camweave("demo", "--video", video, "--frames", NUM_FRAMES, "--out", out, "--json", *more)
    )


@pytest.fixture(scope="module")
def fused(
    camweave: Camweave, video: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("fused")
    return out, run_demo(camweave, video, out)


def story(out: Path) -> tuple[dict[tuple[str, int], list[Any]], list[Any]]:
    """Return what a run saw and decided, without what depends on the clock."""
    frames = {}
    for line in (out / "tracks.jsonl").read_bytes().splitlines():
        result = decode(line, FrameResult)
        frames[result.camera, result.sequence] = [
            (o.box, o.score, o.track, o.confirmed) for o in result.observations
        ]
    lines = (out / "identities.jsonl").read_bytes().splitlines()
    decisions = [decode(line, IdentityDecision) for line in lines]
    return frames, [(d.track, d.camera, d.identity, d.kind, d.similarity, d.embedding) for d in decisions]


def test_no_frame_is_lost_and_people_are_followed_from_camera_to_camera(
    fused: tuple[Path, dict[str, Any]],
) -> None:
    _, report = fused
    assert report["cameras"] == 4
    assert report["frames_produced"] == report["frames_processed"] == 4 * NUM_FRAMES
    assert report["frames_lost"] == report["dead_letters"] == 0
    assert report["cross_camera_identities"] >= 1
    assert report["identities"] <= report["tracks"]
    assert 0 < report["latency_s"]["p50"] <= report["latency_s"]["p99"]
    assert report["pipeline_efficiency"] == pytest.approx(
        report["fps"] / report["bare_detector_fps"], rel=0.01
    )
    assert set(report["stage_seconds"]) >= {"poll", "detect", "track", "embed", "produce"}
    assert report["model_version"].startswith("nanodet")


def test_the_demo_leaves_its_report_its_records_and_its_pictures(fused: tuple[Path, dict[str, Any]]) -> None:
    out, report = fused
    assert json.loads((out / "report.json").read_text()) == report
    with av.open(str(out / "mosaic.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == NUM_FRAMES
    assert (out / "journeys.png").read_bytes().startswith(b"\x89PNG")
    frames, decisions = story(out)
    assert len(frames) == 4 * NUM_FRAMES
    assert decisions


def test_whoever_the_demo_found_is_explained_with_a_picture(
    camweave: Camweave, fused: tuple[Path, dict[str, Any]]
) -> None:
    out, report = fused
    assert report["embedder"].startswith("osnet@")
    story = report_of(camweave("explain", "P1", "--run", out, "--json"))
    assert story["name"] == "P1"
    assert story["embedder"] == report["embedder"]
    assert story["crops"] > 0
    assert story["crops_no_longer_kept"] == 0
    assert Path(story["picture"]).read_bytes().startswith(b"\x89PNG")


def test_split_placement_tells_the_same_story_as_fused(
    camweave: Camweave, video: Path, tmp_path: Path, fused: tuple[Path, dict[str, Any]]
) -> None:
    report = run_demo(camweave, video, tmp_path, "--placement", "split", "--shards", "2", "--no-pictures")
    assert report["frames_lost"] == 0
    assert report["placement"] == "split"
    assert story(tmp_path) == story(fused[0])


@pytest.mark.kafka
def test_kafka_tells_the_same_story_as_sqlite(
    camweave: Camweave, video: Path, kafka: str, tmp_path: Path, fused: tuple[Path, dict[str, Any]]
) -> None:
    report = run_demo(camweave, video, tmp_path, "--kafka", kafka, "--no-pictures")
    assert report["frames_lost"] == 0
    assert report["log"] == "kafka"
    assert story(tmp_path) == story(fused[0])
