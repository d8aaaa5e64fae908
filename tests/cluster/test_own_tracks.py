"""Teaches a camera by what the site has seen itself: a log of frames, results and identities, and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from cluster.config import read_site
from cluster.explain import records_of_site
from cluster.log.open import open_log
from cluster.log.protocol import Log, Topic
from cluster.own_tracks import task_of_own_tracks
from models.embedders import EmbedderConfig, build_embedder
from models.fewshot.camera_shipped import initialization_for
from models.files import write_atomically
from pipeline.frames import FrameHeader
from pipeline.learning.camera_kind import CameraKind
from pipeline.records import (
    DecisionKind,
    FrameRef,
    FrameResult,
    IdentityDecision,
    Observation,
    TaskKind,
    TaskRecord,
    encode,
)
from pipeline.teaching import check_task
from tests.cluster.test_teach import Capture, Site

SECOND = 1_000_000_000
WIDTH, HEIGHT, WIDE = 480, 120, 40
NUM_FRAMES = 4
CAMERAS = ("door", "yard")
NUM_PAIRED, NUM_ALONE = 5, 3
ALL = NUM_PAIRED + 2 * NUM_ALONE


def people(camera: str) -> list[int]:
    """The first five are seen in both cameras, three more in each alone."""
    first = NUM_PAIRED + NUM_ALONE * CAMERAS.index(camera)
    return [*range(NUM_PAIRED), *range(first, first + NUM_ALONE)]


def track_of(camera: str, who: int) -> str:
    return f"{camera}:0-{who}-0"


def box_of(who: int) -> tuple[float, float, float, float]:
    left = 10.0 + (WIDE + 2) * who
    return left, 10.0, left + WIDE, 110.0


def colour_of(who: int) -> tuple[int, ...]:
    """Hues as far apart as can be; blue, green, red."""
    hsv = np.array([[[180 * who // ALL, 255, 255]]], np.uint8)
    return tuple(int(value) for value in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0])


def frame_of(camera: str, second: int) -> bytes:
    """Everybody who is in the camera in their colour, darker in the yard, with a belt that moves a little."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for who in people(camera):
        left, top, right, bottom = map(int, box_of(who))
        picture[top:bottom, left:right] = np.array(colour_of(who)) // (1 + CAMERAS.index(camera))
        picture[top + 20 + second : top + 26 + second, left:right] = 0
    return bytes(cv2.imencode(".jpg", picture)[1])


def results() -> Iterator[FrameResult]:
    for partition, camera in enumerate(CAMERAS):
        for second in range(NUM_FRAMES):
            seen = tuple(
                Observation(box=box_of(who), score=0.9, label="person", track=track_of(camera, who))
                for who in people(camera)
            )
            yield FrameResult(
                frame=FrameRef(topic="frames", partition=partition, offset=second), camera=camera, sequence=second,
                captured_ns=second * SECOND, width=WIDTH, height=HEIGHT, model_version="m", observations=seen,
            )  # fmt: skip


def decision(camera: str, who: int, kind: DecisionKind, identity: str, **more: str) -> IdentityDecision:
    return IdentityDecision(
        track=track_of(camera, who), camera=camera, identity=identity, kind=kind, at_ns=(2 + CAMERAS.index(camera)) * SECOND,
        start_ns=0, label="person", seen_ns=NUM_FRAMES * SECOND + who, **more,
    )  # fmt: skip


def decisions(num_paired: int = NUM_PAIRED) -> Iterator[IdentityDecision]:
    """Who is in both cameras is first somebody new in the yard, and then found to be whom the door has seen."""
    for camera in CAMERAS:
        for who in people(camera):
            own = f"id-{track_of(camera, who)}"
            yield decision(camera, who, DecisionKind.WAIT, own, embedder="an earlier one")
            if camera == "yard" and who < num_paired:
                there = f"id-{track_of('door', who)}"
                yield decision(camera, who, DecisionKind.MATCH, there, absorbed=own, embedder="a later one")
            else:
                yield decision(camera, who, DecisionKind.NEW, own)


def fill(log: Log, known: Iterator[IdentityDecision]) -> None:
    log.create_topics([
        Topic(name="frames", num_partitions=2), Topic(name="tracks", num_partitions=4),
        Topic(name="identities", num_partitions=1),
    ])  # fmt: skip
    with log.producer() as producer:
        for result in results():
            header = FrameHeader(
                camera=result.camera, sequence=result.sequence, captured_ns=result.captured_ns, produced_ns=0, epoch=1,
                width=WIDTH, height=HEIGHT,
            )  # fmt: skip
            frame = frame_of(result.camera, result.sequence)
            producer.produce(
                "frames", frame, headers=header.to_headers(), partition=CAMERAS.index(result.camera)
            )
            producer.produce("tracks", encode(result), key=result.camera.encode())
        for one in known:
            producer.produce("identities", encode(one), key=b"site")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, f"sqlite:///{tmp_path}/site.db", "")


def who_is_on(jpeg: bytes) -> int:
    """Tell by the hue."""
    mean_3 = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).reshape(-1, 3).mean(0)
    colours_N3 = np.array([colour_of(who) for who in range(ALL)], float)
    likeness_N = colours_N3 @ mean_3 / np.linalg.norm(colours_N3, axis=1)
    return int(likeness_N.argmax())


def shown(task: TaskRecord) -> Counter[tuple[int, str, str, bool]]:
    return Counter((who_is_on(one.image), one.label, one.camera, one.query) for one in task.examples)


PAIRED = {
    (who, f"id-{track_of('door', who)}", camera, who in (1, 3)): 2
    for who in range(NUM_PAIRED)
    for camera in CAMERAS
}
ALONE = {
    (who, track_of(camera, who), camera, False): 1
    for camera in CAMERAS
    for who in people(camera)[NUM_PAIRED:]
}


@pytest.mark.parametrize("place", ["site", "run"])
def test_a_camera_is_taught_by_whom_the_site_has_found_and_by_strangers(
    site: Site, tmp_path: Path, capsys: Capture, place: str
) -> None:
    where: list[object] = []
    log = site.log
    if place == "run":
        run = tmp_path / "run"
        write_atomically(run / "tracks.jsonl", b"\n".join(map(encode, results())))
        write_atomically(run / "identities.jsonl", b"\n".join(map(encode, decisions())))
        where, log = ["--run", run], open_log(f"sqlite:///{run}/log.db")
    fill(log, decisions())
    told = site.result(capsys, "camera", "yard", "--own-tracks", *where, "--no-wait")
    (taught,) = told["tasks"]
    assert (taught["kind"], taught["name"], taught["examples"], taught["held_out"]) == (
        "camera",
        "yard",
        26,
        8,
    )
    task = site.tasks[TaskKind.CAMERA, "yard"]
    check_task(task)
    assert shown(task) == PAIRED | ALONE


def test_the_learner_makes_pairs_of_those_learned_from_and_one_row_of_the_strangers(site: Site) -> None:
    fill(site.log, decisions())
    task = task_of_own_tracks(records_of_site(read_site(site.config)), "yard", taught_ns=1)
    embedder = build_embedder(EmbedderConfig(name="stripes"))
    kind = CameraKind(embedder, initialization_for(embedder.version, embedder.dimension))
    lesson = kind.study(task)
    assert len(lesson.material.pairs) == (NUM_PAIRED - 2) + 1
    assert lesson.num_queries == 2 * 2


def test_with_too_few_found_in_both_cameras_it_says_how_many_and_what_to_do(
    site: Site, capsys: Capture
) -> None:
    fill(site.log, decisions(num_paired=3))
    message = site.error(capsys, "camera", "yard", "--own-tracks")
    assert "has found 3 identities in 'yard' and in another camera of which frames are kept" in message
    assert "expected at least 4: let it run for longer" in message
    assert site.result(capsys, "list") == {}


def test_a_camera_that_has_seen_nobody_and_one_that_is_not_the_site_s_are_named(
    site: Site, capsys: Capture
) -> None:
    fill(site.log, (one for one in decisions() if one.camera == "door"))
    message = site.error(capsys, "camera", "yard", "--own-tracks")
    assert "knows no track of camera 'yard', only of door: let the site run until" in message
    assert "did you mean 'yard'?" in site.error(capsys, "camera", "yart", "--own-tracks")


def test_identities_whose_frames_are_gone_do_not_count(site: Site, capsys: Capture) -> None:
    fill(site.log, decisions())
    site.log.create_topics([Topic(name="frames", num_partitions=2, retention_bytes=1)])
    with site.log.producer() as producer:
        producer.produce("frames", b"the newest, which is kept", partition=0)
    assert "has found 0 identities in 'yard'" in site.error(capsys, "camera", "yard", "--own-tracks")
    with site.log.producer() as producer:
        producer.produce("frames", b"the newest, which is kept", partition=1)
    message = site.error(capsys, "camera", "yard", "--own-tracks")
    assert "none of the frames that show tracks of 'yard' is kept in the log" in message
    assert "frames_retention_bytes" in message


def test_a_run_without_a_log_has_no_frames(site: Site, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    write_atomically(run / "tracks.jsonl", b"\n".join(map(encode, results())))
    write_atomically(run / "identities.jsonl", b"\n".join(map(encode, decisions())))
    message = site.error(capsys, "camera", "yard", "--own-tracks", "--run", run)
    assert "none of the frames that show tracks of 'yard' is kept" in message


def test_what_another_camera_was_found_to_be_by_a_split_is_no_pair(site: Site, capsys: Capture) -> None:
    parted = msgspec.structs.replace(
        decision("yard", 0, DecisionKind.SPLIT, f"id-{track_of('yard', 0)}", split_from=f"id-{track_of('door', 0)}"),
        moved=(track_of("yard", 0),), at_ns=9 * SECOND,
    )  # fmt: skip
    fill(site.log, iter([*decisions(), parted]))
    task = task_of_own_tracks(records_of_site(read_site(site.config)), "yard", taught_ns=1)
    found = {one.label for one in task.examples}
    assert {track_of("yard", 0), track_of("door", 0)} <= found
    assert f"id-{track_of('door', 0)}" not in found
