import numpy as np
import pytest
import torch

from models.embedders import EmbedderConfig, build_embedder, embedding_space
from models.errors import ModelError, WeightsCorrupt
from models.reid.shipped import SHIPPED
from models.transfer.backbones import build_backbone
from models.transfer.classifier import TrainedClasses, TransferNetwork, pack, predict, read_trained
from tests.models.conftest import noise

CROPS = [noise(50, 20), noise(48, 48, seed=1), noise(7, 90, seed=2)]


def write(path, *, size=48, seed=0):
    torch.manual_seed(seed)
    network = TransferNetwork(build_backbone("resnet18"), 3)
    torch.nn.init.normal_(network.last.weight)
    path.write_bytes(pack(network.eval(), TrainedClasses(("cat", "dog", "fox"), size, "5tart", "da7a")))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write(tmp_path_factory.mktemp("trained") / "transfer.safetensors")


@pytest.fixture(scope="module")
def embedder(weights, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return build_embedder(EmbedderConfig(name="transfer", weights=str(weights), cache_dir=str(cache)))


def test_an_embedding_is_what_the_last_layer_reads_at_unit_length(weights):
    config = EmbedderConfig(name="transfer", weights=str(weights), execution="torch", flip_averaging=False)
    embedder = build_embedder(config)
    (row_D,) = embedder.embed([CROPS[1]])
    network = read_trained(weights).network
    features_D = network.backbone(
        torch.from_numpy(CROPS[1][None, ..., ::-1].copy()).permute(0, 3, 1, 2).float()
    )
    cosine = np.dot(row_D, features_D[0].detach().numpy()) / features_D.norm().item()
    assert cosine == pytest.approx(1, abs=1e-3)
    expected_C = predict(network, CROPS[1][None], torch.device("cpu"))[0]
    found_C = network.last(features_D.norm() * torch.from_numpy(row_D)).detach().numpy()
    np.testing.assert_allclose(found_C, expected_C, atol=0.05 * np.abs(expected_C).max())


def test_rows_are_of_unit_length_the_same_in_any_company_and_in_torch(embedder, weights):
    rows_ND = embedder.embed(CROPS)
    assert rows_ND.shape == (3, embedder.dimension) == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(rows_ND, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(rows_ND, np.concatenate([embedder.embed([crop]) for crop in CROPS]))
    in_torch = build_embedder(EmbedderConfig(name="transfer", weights=str(weights), execution="torch"))
    np.testing.assert_allclose(in_torch.embed(CROPS), rows_ND, atol=1e-3)
    assert in_torch.version == embedder.version
    assert embedder.embed([np.zeros((1, 1, 3), np.uint8)]).shape == (1, 512)


def test_a_version_is_told_without_running_anything_and_changes_with_weights_and_size(
    embedder, weights, tmp_path
):
    space = embedding_space(EmbedderConfig(name="transfer", weights=str(weights)))
    assert space == (embedder.version, 512)
    others = [write(tmp_path / "other", seed=1), write(tmp_path / "larger", size=64)]
    versions = {embedding_space(EmbedderConfig(name="transfer", weights=str(one))).version for one in others}
    assert len(versions | {space.version}) == 3
    assert all(version.startswith("resnet18@") for version in versions)


def test_without_weights_or_with_those_of_another_network_it_is_refused():
    with pytest.raises(ModelError, match="camweave train transfer"):
        EmbedderConfig(name="transfer")
    with pytest.raises(WeightsCorrupt, match="no trained classifier"):
        build_embedder(EmbedderConfig(name="transfer", weights=str(SHIPPED)))
