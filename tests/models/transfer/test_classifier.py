import copy
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from models.errors import ModelError, WeightsCorrupt, WeightsUnavailable
from models.transfer.backbones import build_backbone
from models.transfer.classifier import (
    TrainedClasses,
    TransferNetwork,
    load_classifier,
    pack,
    predict,
    read_trained,
)
from tests.models.conftest import noise

ABOUT = TrainedClasses(("cat", "dog", "fox"), 48, "5tart", "da7a")
CROPS = [noise(50, 20), noise(48, 48, seed=1), noise(7, 90, seed=2)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = TransferNetwork(build_backbone("efficientnet-lite0"), 3, dropout=0.5)
    torch.nn.init.normal_(network.last.weight)
    return network.eval()


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "transfer.safetensors"
    path.write_bytes(pack(network, ABOUT))
    return path


def test_a_classifier_read_back_gives_the_probabilities_of_the_network_that_was_written(network, path):
    classifier = load_classifier(path)
    found_NC = classifier.classify([CROPS[1]])
    logits_NC = predict(network, CROPS[1][None], torch.device("cpu"))
    np.testing.assert_allclose(found_NC, torch.from_numpy(logits_NC).softmax(1).numpy(), atol=1e-6)
    assert classifier.classes == ("cat", "dog", "fox")
    assert read_trained(path).about == ABOUT


def test_the_same_network_makes_the_same_file(network, path):
    assert {pack(network, ABOUT) for _ in range(5)} == {path.read_bytes()}


def test_crops_of_any_size_get_probabilities_that_sum_to_one_and_none_get_none(path):
    classifier = load_classifier(path)
    found_NC = classifier.classify(CROPS)
    assert found_NC.shape == (3, 3)
    assert found_NC.dtype == np.float32
    np.testing.assert_allclose(found_NC.sum(1), 1, atol=1e-6)
    assert classifier.classify([]).shape == (0, 3)


def test_a_version_names_the_backbone_and_changes_with_weights_and_size(network, path, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(pack(network, TrainedClasses(ABOUT.classes, 64, ABOUT.start, ABOUT.data)))
    versions = {load_classifier(path).version, load_classifier(other).version}
    assert len(versions) == 2
    assert all(version.startswith("efficientnet-lite0@") for version in versions)


def test_reading_back_leaves_torchs_generator_alone(path):
    before = torch.get_rng_state()
    load_classifier(path)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("crop", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)])
def test_what_is_no_crop_is_refused_by_index(path, crop):
    with pytest.raises(ModelError, match="image 1"):
        load_classifier(path).classify([CROPS[0], crop])


def changed(content, **metadata):
    length = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["camweave"]) | metadata
    return safetensors.torch.save(safetensors.torch.load(content), {"camweave": json.dumps(about)})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other-1"}, "its format is 'other-1'"),
        ({"backbone": "resnet81"}, "did you mean 'resnet18'"),
        ({"classes": ["a", "b"]}, "it names 2 classes and holds weights of 3"),
        ({"size": "big"}, "invalid literal"),
        ({"size": 100_000}, "size is 100000, expected 48 to 1024"),
    ],
)
def test_a_file_that_says_something_else_of_itself_is_refused(path, tmp_path, metadata, message):
    (tmp_path / "wrong.safetensors").write_bytes(changed(path.read_bytes(), **metadata))
    with pytest.raises(WeightsCorrupt, match=message):
        read_trained(tmp_path / "wrong.safetensors")


def test_a_torn_or_foreign_or_absent_file_is_refused(path, tmp_path):
    torn, foreign = tmp_path / "torn", tmp_path / "foreign"
    torn.write_bytes(path.read_bytes()[:-100])
    foreign.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}))
    for wrong in (torn, foreign):
        with pytest.raises(WeightsCorrupt, match="holds no trained classifier"):
            read_trained(wrong)
    with pytest.raises(WeightsUnavailable, match="check the path"):
        read_trained(tmp_path / "absent")


def test_a_number_that_is_not_finite_is_refused(network, tmp_path):
    path = tmp_path / "nan.safetensors"
    broken = copy.deepcopy(network)
    with torch.no_grad():
        broken.last.bias[1] = float("nan")
    path.write_bytes(pack(broken, ABOUT))
    with pytest.raises(WeightsCorrupt, match=r"last.bias in .* not finite"):
        read_trained(path)
