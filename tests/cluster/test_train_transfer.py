"""Trains a classifier through the command, on a few pictures made here."""

import json
from pathlib import Path

import pytest
import torch

from cluster import train_transfer
from cluster.cli import main
from cluster.train import Interrupted
from models.embedders import EmbedderConfig, embedding_space
from models.training_run import CHECKPOINT_NAME, HISTORY_NAME
from models.transfer.classifier import load_classifier
from models.transfer.history import TransferEpoch, TransferProgress, history_json
from tests.models.transfer.conftest import config, write_classes

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", "transfer", "--data", str(data), "--out", str(out), "--backbone", "efficientnet-lite0", "--weights",
            "random", "--size", "48", "--epochs", "1", "--batch", "4", "--held-out", "0.34", "--json", *more]  # fmt: skip


def test_training_leaves_weights_pictures_and_a_checkpoint_and_prints_its_scores(
    capsys: Capture, tmp_path: Path
):
    data, out = write_classes(tmp_path / "data"), tmp_path / "out"
    assert main(command(data, out, "--seed", "3", "--freeze", "stage2", "--no-flip")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["backbone"], result["frozen_stages"], result["size"]) == ("efficientnet-lite0", 3, 48)
    assert (result["classes"], result["epochs"], result["seed"], result["pretrained"]) == (2, 1, 3, False)
    confusion = json.loads((out / "confusion.json").read_text())
    assert confusion["classes"] == ["cat", "dog"]
    assert sum(map(sum, confusion["confusion"])) == confusion["held_out"] == result["scores"]["held_out"] == 4
    right = sum(confusion["confusion"][i][i] for i in range(2))
    assert confusion["accuracy"] == result["scores"]["accuracy"] == right / 4
    for picture in (result["curves"], result["confusion"]):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert load_classifier(Path(result["weights"])).classes == ("cat", "dog")
    space = embedding_space(EmbedderConfig(name="transfer", weights=result["weights"]))
    assert space.dimension == 1280

    assert main(command(data, out)) == 1  # what is there is not overwritten without a word
    assert "add --resume" in json.loads(capsys.readouterr().out)["message"]
    assert main(command(data, out, "--resume", "--seed", "3", "--freeze", "stage2", "--no-flip")) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]


def interrupted_after(num_epochs: int):
    """Training that Ctrl-C stops once so many epochs are over."""

    def train(config, on_progress):
        config.out.mkdir(parents=True, exist_ok=True)
        history = [TransferEpoch(epoch, 1e-3, 2.0, 0.5, 1.0, 0.75) for epoch in range(1, num_epochs + 1)]
        if history:
            (config.out / HISTORY_NAME).write_text(history_json(history))
            (config.out / CHECKPOINT_NAME).write_bytes(b"checkpoint")
            on_progress(TransferProgress(num_epochs, config.epochs, 4, 4, 1.5, 0.75))
        raise KeyboardInterrupt

    return train


@pytest.mark.parametrize(
    ("num_epochs", "words"),
    [(3, "3 of 8 epochs are kept"), (0, "stopped before the first epoch was over")],
)
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_epochs: int, words: str
):
    monkeypatch.setattr(train_transfer, "train_transfer", interrupted_after(num_epochs))
    assert main(["train", "transfer", "--data", "d", "--out", str(tmp_path / "o"), "--epochs", "8"]) == 130
    told = capsys.readouterr()
    assert words in told.err
    assert ("--resume" in told.err) == (num_epochs > 0)
    assert told.out == ""


def test_progress_counts_steps_over_all_epochs_and_draws_the_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(train_transfer, "train_transfer", interrupted_after(3))
    told: list[tuple[int, int, str]] = []
    with pytest.raises(Interrupted):
        train_transfer.run_transfer(config(tmp_path, tmp_path / "out", epochs=8), lambda *at: told.append(at))
    assert told == [(12, 32, "epoch 3 of 8, loss 1.50, accuracy 0.750")]
    assert (tmp_path / "out" / train_transfer.CURVES_NAME).exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--backbone", "resnet19"], "did you mean 'resnet18'"),
        (["--freeze", "stage9"], "did you mean 'stage7'"),
        (["--epochs", "0"], "epochs is 0"),
        (["--size", "20"], "size is 20, expected 0, or 48 to 1024"),
        (["--weights", "absent.safetensors"], "absent.safetensors cannot be read"),
        (["--data", "absent"], "absent is neither a folder nor a zip"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_a_reason(capsys: Capture, tmp_path: Path, more, message):
    assert main([*command(tmp_path, tmp_path / "o"), *more]) == 1
    error = json.loads(capsys.readouterr().out)
    assert message in error["message"]
