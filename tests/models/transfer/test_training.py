from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.errors import BadCrops, ModelError
from models.reid.trunk import installed_imagenet
from models.transfer.backbones import build_backbone
from models.transfer.classifier import load_classifier, read_trained
from models.transfer.history import count_confusion, read_history
from models.transfer.starting import load_start
from models.transfer.training import train_transfer
from tests.models.transfer.conftest import config, write_classes


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def whole(classes, tmp_path_factory):
    """An unbroken run: its outcome and what it told."""
    told = []
    out = tmp_path_factory.mktemp("whole")
    return train_transfer(config(classes, out), told.append), told


def test_a_run_stopped_in_the_middle_of_an_epoch_and_resumed_ends_with_the_same_weights(
    classes, whole, tmp_path
):
    def stop(progress):
        if progress.epoch == 2 and progress.step == 1:
            raise Stopped

    with pytest.raises(Stopped):
        train_transfer(config(classes, tmp_path), stop)
    outcome = train_transfer(config(classes, tmp_path, resume=True), lambda _: None)
    unbroken, resumed = load_file(whole[0].weights), load_file(outcome.weights)
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    assert outcome.weights.read_bytes() == whole[0].weights.read_bytes()
    assert read_history(tmp_path / "history.json") == read_history(whole[0].weights.parent / "history.json")


def test_training_leaves_torchs_generator_and_threads_alone(classes, tmp_path):
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    train_transfer(config(classes, tmp_path, epochs=1), lambda _: None)
    assert torch.get_rng_state().equal(before)
    assert torch.get_num_threads() == 2


def test_another_seed_gives_other_weights(classes, whole, tmp_path):
    outcome = train_transfer(config(classes, tmp_path, seed=1), lambda _: None)
    assert not load_file(outcome.weights)["last.weight"].equal(load_file(whole[0].weights)["last.weight"])


def test_every_step_is_told_and_every_epoch_is_judged(whole):
    outcome, told = whole
    assert [(p.epoch, p.step, p.num_steps) for p in told] == [(e, s, 2) for e in (1, 2, 3) for s in (1, 2)]
    assert [p.epoch for p in told if p.accuracy is not None] == [1, 2, 3]
    history = read_history(outcome.weights.parent / "history.json")
    assert [record.epoch for record in history] == [1, 2, 3]
    assert history[-1].accuracy == told[-1].accuracy == pytest.approx(outcome.accuracy)


def test_the_file_says_what_it_was_made_of(whole):
    outcome, _ = whole
    trained = read_trained(outcome.weights)
    assert (trained.backbone.name, trained.about.classes, trained.about.size) == (
        "efficientnet-lite0", ("cat", "dog"), 48,
    )  # fmt: skip
    assert trained.about.start == ""
    assert len(trained.about.data) == 64
    assert outcome.confusion_CC.sum(1).tolist() == [2, 2]


def test_frozen_stages_come_out_as_they_went_in_and_the_others_have_learned(classes, tmp_path):
    first = train_transfer(config(classes, tmp_path / "first", epochs=1), lambda _: None)
    second = train_transfer(
        config(
            classes,
            tmp_path / "second",
            epochs=1,
            freeze="stage6",
            pretrained=True,
            weights=first.weights,
            seed=5,
        ),
        lambda _: None,
    )
    before, after = load_file(first.weights), load_file(second.weights)
    changed = {
        name.split(".")[2]
        for name in before
        if name.startswith("backbone.") and not before[name].equal(after[name])
    }
    assert changed == {"stage7", "widen"}
    assert second.num_frozen == 7
    assert read_trained(second.weights).about.start == read_trained(first.weights).sha256


@pytest.mark.skipif(installed_imagenet() is None, reason="needs the package of the ImageNet weights")
def test_with_all_frozen_the_backbone_stays_published_and_the_last_layer_learns_to_tell_classes(
    classes, tmp_path
):
    outcome = train_transfer(
        config(classes, tmp_path, pretrained=True, freeze="all", epochs=8), lambda _: None
    )
    published = build_backbone("efficientnet-lite0")
    load_start(published, None, None)
    trained = read_trained(outcome.weights).backbone.state_dict()
    assert all(value.equal(trained[name]) for name, value in published.state_dict().items())
    assert outcome.accuracy == outcome.balanced_accuracy == 1.0


def test_what_val_holds_is_judged_and_the_classifier_read_back_judges_it_alike(tmp_path):
    write_classes(tmp_path / "data", each=4)
    held_out = write_classes(tmp_path / "data" / "val", each=3, first=50)
    outcome = train_transfer(config(tmp_path / "data", tmp_path / "out"), lambda _: None)
    pictures = [cv2.imread(str(path)) for path in sorted(held_out.rglob("*.png"))]
    taken_for = load_classifier(outcome.weights).classify(pictures).argmax(1)
    assert outcome.confusion_CC.tolist() == count_confusion(np.repeat([0, 1], 3), taken_for, 2).tolist()
    assert outcome.accuracy == (taken_for == np.repeat([0, 1], 3)).mean()


def test_pictures_can_be_learned_as_they_are(classes, tmp_path):
    outcome = train_transfer(config(classes, tmp_path, epochs=1, augmentation=None), lambda _: None)
    assert outcome.weights.is_file()


def test_a_checkpoint_of_other_settings_or_pictures_or_weights_is_refused(classes, whole, tmp_path):
    out = whole[0].weights.parent
    other = write_classes(tmp_path, each=7)
    for changes in ({"freeze": "stem"}, {"data": other}, {"pretrained": True, "weights": whole[0].weights}):
        with pytest.raises(ModelError, match="was made with other settings"):
            train_transfer(config(classes, out, resume=True) if not changes else config(
                **{"data": classes, "out": out, "resume": True} | changes), lambda _: None)  # fmt: skip


def test_a_learning_rate_that_blows_up_is_said_to_be_too_high(classes, tmp_path):
    with pytest.raises(ModelError, match=r"expected a finite number; lower learning_rate"):
        train_transfer(config(classes, tmp_path, learning_rate=1e12, warm_up=0.0), lambda _: None)
    assert not (tmp_path / "transfer.safetensors").exists()


def test_names_that_are_unknown_are_refused_before_pictures_are_read(tmp_path):
    with pytest.raises(ModelError, match="did you mean 'resnet18'"):
        train_transfer(config(tmp_path, tmp_path, backbone="resnet1"), lambda _: None)
    with pytest.raises(ModelError, match="did you mean 'stage3'"):
        train_transfer(config(tmp_path, tmp_path, freeze="stag3"), lambda _: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs"), ({"batch": 1}, "batch"), ({"size": 32}, "size"), ({"held_out": 1.0}, "held_out"),
        ({"dropout": 1.0}, "dropout"), ({"momentum": -0.1}, "momentum"), ({"learning_rate": 0.0}, "learning_rate"),
        ({"weights": Path("x.pth")}, "weights"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(ModelError, match=f"{message} is"):
        config(tmp_path, tmp_path, **changes)


def test_a_broken_picture_stops_training_before_it_begins(tmp_path):
    data = write_classes(tmp_path / "data")
    (data / "cat" / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(BadCrops, match=r"cat/broken.jpg"):
        train_transfer(config(data, tmp_path / "out"), lambda _: pytest.fail("it trained"))
