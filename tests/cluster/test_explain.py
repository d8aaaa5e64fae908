"""Explains identities from a small run made here: two cameras, three people, frames in a log."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cluster.cli import main
from cluster.log.protocol import Topic
from cluster.log.sqlite import SqliteLog
from cluster.topics import Topics
from models.files import write_atomically
from pipeline.frames import FrameHeader
from pipeline.records import (
    Candidate,
    DecisionKind,
    Evidence,
    FrameRef,
    FrameResult,
    IdentityDecision,
    Observation,
    encode,
)

Capture = pytest.CaptureFixture[str]
CAMERAS = ("gate", "yard")
SECOND = 1_000_000_000
BOX = (30.0, 10.0, 60.0, 70.0)
EMBEDDER = "osnet@0123456789ab"


def track(camera: str, number: int) -> str:
    return f"{camera}:0-{number}-0"


def decision(
    kind: DecisionKind, camera: str, number: int, identity: str, at_s: int, **more: Any
) -> IdentityDecision:
    return IdentityDecision(
        track=track(camera, number), camera=camera, identity=f"id-{identity}", kind=kind, at_ns=at_s * SECOND,
        start_ns=number * SECOND, label="person", embedder=EMBEDDER, **more,
    )  # fmt: skip


ANNA, BERT = track("gate", 0), track("yard", 2)
DECISIONS = (
    decision(DecisionKind.WAIT, "gate", 0, ANNA, 1),
    decision(DecisionKind.NEW, "gate", 0, ANNA, 2, decided_by="deadline"),
    decision(DecisionKind.NEW, "yard", 2, BERT, 3, decided_by="deadline"),
    decision(DecisionKind.WAIT, "yard", 4, track("yard", 4), 5),
    decision(
        DecisionKind.MATCH, "yard", 4, ANNA, 6, absorbed=f"id-{track('yard', 4)}", moved=(track("yard", 4),),
        threshold=1.0, similarity=0.81, score=5.2, decided_by="motion",
        evidence=Evidence(appearance=1.9, motion=3.3),
        runner_up=Candidate(identity=f"id-{BERT}", similarity=0.4, score=-0.6, evidence=Evidence(appearance=-0.6)),
        candidates=(
            Candidate(identity=f"id-{BERT}", similarity=0.93, excluded_by="seen beside it"),
        ),
    ),
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: a frame each second from either camera, one person in it, in a colour of their own."""
    log, topics = SqliteLog(tmp_path / "log.db"), Topics.with_prefix()
    log.create_topics([Topic(name=topics.frames, num_partitions=2)])
    who = {
        ("gate", 0): ANNA,
        ("gate", 1): ANNA,
        ("yard", 2): BERT,
        ("yard", 3): BERT,
        ("yard", 4): track("yard", 4),
    }
    results = []
    with log.producer() as producer:
        for partition, camera in enumerate(CAMERAS):
            for second in range(6):
                header = FrameHeader(
                    camera=camera, sequence=second, captured_ns=second * SECOND, produced_ns=second * SECOND, epoch=1,
                    width=100, height=80,
                )  # fmt: skip
                colour = {ANNA: (0, 0, 250), BERT: (250, 0, 0)}.get(
                    who.get((camera, second), ""), (0, 250, 0)
                )
                picture = np.full((80, 100, 3), colour, np.uint8)
                jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
                producer.produce(topics.frames, jpeg, headers=header.to_headers(), partition=partition)
                results.append(result(camera, partition, second, who.get((camera, second))))
    write_atomically(tmp_path / "tracks.jsonl", b"\n".join(map(encode, results)))
    write_atomically(tmp_path / "identities.jsonl", b"\n".join(map(encode, DECISIONS)))
    report = {"clock_offsets_s": {"gate": 0.0, "yard": -0.5}}
    write_atomically(tmp_path / "report.json", json.dumps(report).encode())
    return tmp_path


def result(camera: str, partition: int, second: int, name: str | None) -> FrameResult:
    seen = Observation(box=BOX, score=0.9, label="person", track=name, confirmed=True)
    return FrameResult(
        frame=FrameRef(topic="frames", partition=partition, offset=second), camera=camera, sequence=second,
        captured_ns=second * SECOND, width=100, height=80, model_version="m", observations=(seen,) if name else (),
    )  # fmt: skip


def explained(capsys: Capture, *arguments: object) -> dict[str, Any]:
    assert main(["explain", *map(str, arguments), "--json"]) == 0
    story: dict[str, Any] = json.loads(capsys.readouterr().out)
    return story


def test_the_story_names_each_track_its_evidence_and_who_it_was_not(capsys: Capture, run: Path) -> None:
    assert main(["explain", "P1", "--run", str(run)]) == 0
    told = capsys.readouterr().out
    for words in (
        f"P1 is id-{ANNA}: 2 tracks in 2 cameras (gate, yard); told apart by {EMBEDDER}",
        "00:00.0 – 00:01.0  gate",
        "00:04.5 – 00:04.5  yard",  # its clock is half a second behind
        "new identity, by deadline",
        "match +5.2, by motion",
        "motion +3.3, appearance +1.9 (similarity 0.81); +1.0 was needed",
        "not P2 (similarity 0.93): seen beside it",
        "runner-up P2, -0.6: appearance -0.6 (similarity 0.40)",
        f"picture: {run / 'explain-P1.png'}",
    ):
        assert words in told


def test_the_picture_shows_the_person_and_who_came_near(capsys: Capture, run: Path) -> None:
    story = explained(capsys, "P1", "--run", run)
    assert story["crops"] == 4  # two of the first track, one of the second, and the one ruled out
    assert story["crops_no_longer_kept"] == 0
    picture = cv2.imread(story["picture"]).astype(int)
    red, blue = picture[..., 2] - picture[..., :2].max(axis=2), picture[..., 0] - picture[..., 1:].max(axis=2)
    assert (red > 200).sum() > 10_000
    assert (blue > 200).sum() > 1_000


def test_as_json_the_decisions_keep_their_numbers(capsys: Capture, run: Path) -> None:
    story = explained(capsys, "P1", "--run", run)
    (match,) = story["tracks"][1]["decisions"]
    assert (match["kind"], match["score"], match["similarity"], match["at_s"]) == ("match", 5.2, 0.81, 6.5)
    assert match["evidence"] == {"appearance": 1.9, "motion": 3.3}
    assert "embedding" not in match


@pytest.mark.parametrize(
    "name", ["P1", "p1", f"id-{ANNA}", ANNA, "gate", track("yard", 4), f"id-{track('yard', 4)}"]
)
def test_an_identity_goes_by_its_id_its_beginning_a_track_or_its_name_in_pictures(
    capsys: Capture, run: Path, name: str
) -> None:
    assert explained(capsys, name, "--run", run)["identity"] == f"id-{ANNA}"


@pytest.mark.parametrize(
    ("name", "words"),
    [("P7", "the nearest known are P"), ("gatf", f"P1 (id-{ANNA})"), ("", "unknown identity")],
)
def test_an_unknown_identity_is_an_error_that_names_the_nearest(
    capsys: Capture, run: Path, name: str, words: str
) -> None:
    assert main(["explain", name, "--run", str(run)]) == 1
    assert words in capsys.readouterr().err


def test_a_beginning_of_several_identities_lists_them(capsys: Capture, run: Path) -> None:
    more = decision(DecisionKind.NEW, "gate", 3, track("gate", 3), 6)
    write_atomically(run / "identities.jsonl", b"\n".join(map(encode, (*DECISIONS, more))))
    assert main(["explain", "gate:0", "--run", str(run)]) == 1
    assert "is the beginning of" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["log gone", "log of another run"])
def test_without_its_frames_the_story_is_told_all_the_same(capsys: Capture, run: Path, what: str) -> None:
    for path in run.glob("log.db*"):
        path.unlink()
    if what == "log of another run":
        log = SqliteLog(run / "log.db")
        log.create_topics([Topic(name="frames", num_partitions=2)])
        with log.producer() as producer:
            for _ in range(9):
                producer.produce("frames", b"no frame of ours", partition=0)
    story = explained(capsys, "P1", "--run", run)
    assert (story["crops"], story["crops_no_longer_kept"]) == (0, 4)
    assert Path(story["picture"]).read_bytes().startswith(b"\x89PNG")


def test_a_site_s_log_is_explained_where_it_lies(capsys: Capture, run: Path, tmp_path: Path) -> None:
    log, topics = SqliteLog(run / "log.db"), Topics.with_prefix()
    log.create_topics(
        [Topic(name=topics.tracks, num_partitions=4), Topic(name=topics.identities, num_partitions=1)]
    )
    with log.producer() as producer:
        for line in (run / "tracks.jsonl").read_bytes().splitlines():
            producer.produce(topics.tracks, line, key=json.loads(line)["camera"].encode())
        for one in DECISIONS:
            producer.produce(topics.identities, encode(one))
    site = tmp_path / "site.yaml"
    site.write_text(
        f"log: sqlite:///{run / 'log.db'}\ncameras: [{{id: gate}}, {{id: yard, clock_offset_s: -0.5}}]\n"
    )
    story = explained(capsys, ANNA, "--config", site, "--picture", tmp_path / "why.png")
    assert [(one["camera"], one["start_s"]) for one in story["tracks"]] == [("gate", 0.0), ("yard", 4.5)]
    assert (story["crops"], story["picture"]) == (4, str(tmp_path / "why.png"))


def test_a_track_in_doubt_says_so(capsys: Capture, run: Path) -> None:
    write_atomically(run / "identities.jsonl", encode(DECISIONS[0]))
    assert main(["explain", ANNA, "--run", str(run)]) == 0
    assert "in doubt still" in capsys.readouterr().out


def test_the_track_that_others_joined_while_in_doubt_is_the_first_of_its_identity(
    capsys: Capture, run: Path
) -> None:
    records = [one for one in DECISIONS if one.kind is not DecisionKind.NEW]
    write_atomically(run / "identities.jsonl", b"\n".join(map(encode, records)))
    assert main(["explain", ANNA, "--run", str(run)]) == 0
    assert "first of its identity" in capsys.readouterr().out


def test_a_candidate_that_was_absorbed_since_is_shown_with_the_name_it_has_now(
    capsys: Capture, run: Path
) -> None:
    merge = decision(
        DecisionKind.MERGE, "yard", 2, track("gate", 5), 8, absorbed=f"id-{BERT}", moved=(BERT,), score=3.0
    )
    write_atomically(run / "identities.jsonl", b"\n".join(map(encode, (*DECISIONS, merge))))
    story = explained(capsys, ANNA, "--run", run)
    assert story["crops"] == 4
    assert main(["explain", ANNA, "--run", str(run)]) == 0
    assert f"runner-up {BERT} (now P2), -0.6" in capsys.readouterr().out


def test_without_an_identity_all_are_listed_in_order_of_first_sight(capsys: Capture, run: Path) -> None:
    assert main(["explain", "--run", str(run), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed) == [f"id-{ANNA}", f"id-{BERT}"]
    assert (
        listed[f"id-{ANNA}"]["name"],
        listed[f"id-{ANNA}"]["tracks"],
        listed[f"id-{ANNA}"]["cameras"],
    ) == ("P1", 2, 2)
    assert main(["explain", "--run", str(run)]) == 0
    assert "P2" in capsys.readouterr().out


def test_a_folder_that_is_no_run_and_a_broken_record_are_named(capsys: Capture, run: Path) -> None:
    assert main(["explain", "P1", "--run", str(run / "nowhere")]) == 1
    assert "expected the folder of a finished run" in capsys.readouterr().err
    write_atomically(run / "identities.jsonl", encode(DECISIONS[0]) + b"\n{}\n")
    assert main(["explain", "P1", "--run", str(run)]) == 1
    assert "identities.jsonl, line 2" in capsys.readouterr().err
