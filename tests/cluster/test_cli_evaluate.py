"""Runs `camweave eval` on small data made here, in every form that it accepts."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cluster.cli import main

Capture = pytest.CaptureFixture[str]
NUM_FRAMES = 12


def scores_of(capsys: Capture, *arguments: object) -> dict[str, Any]:
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    scores: dict[str, Any] = json.loads(capsys.readouterr().out)
    return scores


def error_of(capsys: Capture, *arguments: object) -> str:
    assert main(["eval", *map(str, arguments), "--json"]) == 1
    printed = capsys.readouterr()
    message: str = json.loads(printed.out)["message"]
    assert message in printed.err
    return message


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    return archive


def walk(identity: int, left: float, score: float = 1.0) -> list[str]:
    return [
        f"{frame},{identity},{left + 3 * frame},50,30,80,{score},-1,-1,-1"
        for frame in range(1, NUM_FRAMES + 1)
    ]


@pytest.fixture
def mot(tmp_path: Path) -> Path:
    """Two people walk through each of two sequences; the detector sees all of it."""
    for name in ("square", "street"):
        folder = tmp_path / "mot" / name
        (folder / "gt").mkdir(parents=True)
        (folder / "det").mkdir()
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname={name}\nimDir=img1\nframeRate=10\nseqLength={NUM_FRAMES}\nimWidth=640\n"
            "imHeight=480\nimExt=.jpg\n"
        )
        (folder / "gt" / "gt.txt").write_text("\n".join(walk(1, 50) + walk(2, 300)))
        (folder / "det" / "det.txt").write_text("\n".join(walk(-1, 50, 0.9) + walk(-1, 300, 0.9)))
    return tmp_path / "mot"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Another tracker: right in one sequence, and in the other it changes its mind once."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "square.txt").write_text("\n".join(walk(7, 50) + walk(9, 300)))
    (folder / "street.txt").write_text("\n".join(walk(7, 50) + walk(8, 300)[:6] + walk(9, 300)[6:]))
    return folder


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_mot_scores_our_tracker_on_public_detections(capsys: Capture, mot: Path, form: str) -> None:
    scores = scores_of(capsys, "mot", mot if form == "folder" else zipped(mot))
    assert set(scores["sequences"]) == {"square", "street"}
    assert scores["overall"]["num_truth_boxes"] == 4 * NUM_FRAMES
    for one in (*scores["sequences"].values(), scores["overall"]):
        assert one["idf1"] > 0.7  # a new track may take a few frames to be believed
        assert one["hota"] > 0.7
        assert one["id_switches"] == 0


def test_mot_takes_a_sequence_itself(capsys: Capture, mot: Path) -> None:
    assert set(scores_of(capsys, "mot", mot / "street")["sequences"]) == {"street"}


def test_mot_scores_the_result_files_of_any_tracker_pooled_over_sequences(
    capsys: Capture, mot: Path, results: Path
) -> None:
    scores = scores_of(capsys, "mot", mot, "--results", results)
    assert (scores["sequences"]["square"]["hota"], scores["sequences"]["square"]["mota"]) == (1.0, 1.0)
    assert scores["sequences"]["street"]["id_switches"] == scores["overall"]["id_switches"] == 1
    assert scores["sequences"]["street"]["idf1"] == pytest.approx(0.75)
    assert scores["overall"]["idf1"] == pytest.approx((1 + 0.75) / 2)
    assert scores["overall"]["mota"] == pytest.approx(1 - 1 / (4 * NUM_FRAMES), abs=1e-5)


def test_mot_prints_a_table_with_the_pooled_row_last(capsys: Capture, mot: Path, results: Path) -> None:
    assert main(["eval", "mot", str(mot), "--results", str(results)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0].isalpha()] == ["HOTA", "square", "street", "overall"]


def test_mot_without_truth_or_detections_says_which_sequence_and_what_to_do(
    capsys: Capture, mot: Path
) -> None:
    (mot / "square" / "det" / "det.txt").unlink()
    message = error_of(capsys, "mot", mot)
    assert "sequence square has no public detections" in message
    assert "--results FOLDER" in message
    (mot / "street" / "gt" / "gt.txt").write_text("")
    assert "sequence street has no truth" in error_of(capsys, "mot", mot)


def test_mot_results_of_another_sequence_are_refused(capsys: Capture, mot: Path, results: Path) -> None:
    (results / "square.txt").write_text("900,1,0,0,5,5,1,-1,-1,-1")
    assert "square lies in frame 900, expected frames 1 to 12" in error_of(
        capsys, "mot", mot, "--results", results
    )


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Four people in two cameras, each dressed in a colour of their own."""
    folder = tmp_path / "crops"
    folder.mkdir()
    random = np.random.default_rng(1)
    colours = [(40, 40, 220), (40, 200, 40), (220, 60, 40), (30, 200, 220)]
    for identity, colour in enumerate(colours, start=1):
        for camera in (1, 2):
            for frame in (10, 20, 30):
                picture = np.clip(random.normal(colour, 12, (64, 32, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{identity:04d}_c{camera}s1_{frame:06d}_01.png"), picture)
    return folder


STRIPES = "embedder: {name: stripes}\n"


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """A site file with the embedder that needs no weights."""
    path = tmp_path / "site.yaml"
    path.write_text(STRIPES)
    return path


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_reid_scores_the_embedder_of_the_site_file(
    capsys: Capture, crops: Path, stripes: Path, form: str
) -> None:
    scores = scores_of(capsys, "reid", crops if form == "folder" else zipped(crops), "--config", stripes)
    assert (scores["rank1"], scores["rank5"], scores["rank10"]) == (1.0, 1.0, 1.0)
    assert scores["map"] > 0.9
    assert (scores["num_queries"], scores["num_gallery"]) == (8, 16)
    assert scores["embedder"].startswith("stripes@")


def test_reid_on_the_last_identities_alone(capsys: Capture, crops: Path, stripes: Path) -> None:
    scores = scores_of(capsys, "reid", crops, "--ids", "last:2", "--config", stripes)
    assert (scores["num_identities"], scores["num_queries"]) == (2, 4)


def test_reid_names_what_it_cannot_use(capsys: Capture, crops: Path, tmp_path: Path) -> None:
    assert "expected all, first:N or last:N" in error_of(capsys, "reid", crops, "--ids", "some")
    (crops / "holiday.png").write_bytes(b"x")
    assert "holiday.png" in error_of(capsys, "reid", crops)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "empty.zip" in error_of(capsys, "reid", tmp_path / "empty.zip")
    assert "nowhere" in error_of(capsys, "reid", tmp_path / "nowhere")


def test_detect_finds_a_sequence_s_own_pictures_and_says_where_it_looked(capsys: Capture, mot: Path) -> None:
    message = error_of(capsys, "detect", mot / "street")
    assert "holds no pictures of street, expected street/img1" in message
    assert "not 'PETS09-S2L1'; give --sequence NAME" in error_of(capsys, "detect", mot)
    (mot / "street" / "img1").mkdir()
    for frame in range(1, 3):
        cv2.imwrite(str(mot / "street" / "img1" / f"{frame:06d}.jpg"), np.zeros((480, 640, 3), np.uint8))
    scores = scores_of(capsys, "detect", mot, "--sequence", "street", "--frames", "2")
    assert (scores["frames"], scores["truth_boxes"], scores["ap50"]) == (2, 4, 0.0)
