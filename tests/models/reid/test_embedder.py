import numpy as np
import pytest
import safetensors.torch
import torch

from models.embedders import EmbedderConfig, build_embedder
from models.errors import DeviceUnavailable, ModelError, WeightsCorrupt, WeightsUnavailable
from models.network_embedder import NetworkEmbedder
from models.reid.dataset import open_crops
from models.reid.osnet import OmniScaleNetwork
from models.reid.scoring import choose_queries, rank_and_map, single_shot_rank1
from models.reid.shipped import SHIPPED, pack
from tests.models.conftest import noise

MAX_SHIPPED_BYTES = 4_000_000


@pytest.fixture(scope="module")
def shipped():
    return build_embedder(EmbedderConfig(threads=2))


@pytest.fixture(scope="module")
def in_torch():
    return build_embedder(EmbedderConfig(execution="torch"))


def smooth(num, seed=0):
    """Crops with large shapes, like clothes, of various sizes."""
    random = np.random.default_rng(seed)
    sizes = random.integers((40, 15), (160, 70), (num, 2))
    return [np.kron(noise(5, 3, i), np.ones((h // 5, w // 3, 1), np.uint8)) for i, (h, w) in enumerate(sizes)]


def test_torch_and_onnx_runtime_give_the_same_rows(shipped, in_torch):
    crops = smooth(20)
    np.testing.assert_allclose(in_torch.embed(crops), shipped.embed(crops), atol=1e-3)
    assert in_torch.version == shipped.version


def test_averaging_with_the_mirror_image_makes_both_views_equal():
    embedder = build_embedder(EmbedderConfig(flip_averaging=True))
    crops = smooth(3)
    rows = embedder.embed(crops)
    np.testing.assert_allclose(rows, embedder.embed([crop[:, ::-1] for crop in crops]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert embedder.version != build_embedder(EmbedderConfig(flip_averaging=False)).version


def test_the_shipped_weights_are_small_enough():
    assert SHIPPED.stat().st_size <= MAX_SHIPPED_BYTES


def network(seed):
    torch.manual_seed(seed)
    return OmniScaleNetwork()


def test_weights_of_one_s_own_are_used_and_named_in_the_version(tmp_path, shipped):
    path = tmp_path / "own.safetensors"
    path.write_bytes(pack(network(1)))
    own = build_embedder(EmbedderConfig(weights=str(path), execution="torch"))
    crops = smooth(4)
    assert own.version != shipped.version
    assert np.abs(own.embed(crops) - shipped.embed(crops)).max() > 0.01


def spoil(state, how):
    name = "neck.weight"
    if how == "missing":
        del state[name]
    elif how == "reshaped":
        state[name] = state[name][:5].clone()
    else:
        state[name][3] = torch.nan
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"other tensors than this network: \['neck.weight'\] differ"),
        ("reshaped", r"neck.weight in .* has shape \(5,\), expected \(256,\)"),
        ("nan", "neck.weight in .* holds a number that is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, how, message):
    path = tmp_path / "bad.safetensors"
    state = safetensors.torch.load(pack(network(0)))
    path.write_bytes(safetensors.torch.save(spoil(state, how)))
    with pytest.raises(WeightsCorrupt, match=message):
        build_embedder(EmbedderConfig(weights=str(path)))


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(WeightsCorrupt, match="is no safetensors file"):
        build_embedder(EmbedderConfig(weights=str(path)))
    with pytest.raises(WeightsUnavailable, match="check the path of the weights"):
        build_embedder(EmbedderConfig(weights=str(tmp_path / "absent")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("execution", ["torch", "onnxruntime"])
def test_a_device_that_is_not_there_is_refused(execution):
    with pytest.raises(DeviceUnavailable, match="device is 'cuda'"):
        build_embedder(EmbedderConfig(device="cuda", execution=execution))


class Broken:
    def run(self, crops_NHW3):
        rows = np.eye(len(crops_NHW3), 256, dtype=np.float32)
        rows[1] = np.nan
        return rows


def test_an_embedding_that_is_not_finite_never_leaves_the_embedder():
    with pytest.raises(ModelError, match="broken@0 gave crop 1 an embedding of length nan"):
        NetworkEmbedder(Broken(), version="broken@0", size=(8, 4), dimension=256).embed(smooth(3))


def embedded(embedder, path, keep=lambda crop: True):
    with open_crops(path) as source:
        chosen = [i for i, crop in enumerate(source.crops) if keep(crop)]
        return embedder.embed([source.read(i) for i in chosen]), [source.crops[i] for i in chosen]


@pytest.mark.data
def test_held_out_people_of_market_are_found_again_by_other_cameras(data, shipped):
    with open_crops(data / "market1501-train-ids-0002-0954.zip") as market:
        held_out = set(sorted({crop.identity for crop in market.crops})[-100:])
    rows, crops = embedded(
        shipped, data / "market1501-train-ids-0002-0954.zip", lambda crop: crop.identity in held_out
    )
    queries, gallery = choose_queries(crops)
    ids, cameras = [crop.identity for crop in crops], [crop.camera for crop in crops]
    scores = rank_and_map(
        rows[queries], [ids[i] for i in queries], [cameras[i] for i in queries],
        rows[gallery], [ids[i] for i in gallery], [cameras[i] for i in gallery],
    )  # fmt: skip
    assert scores.rank1 >= 0.75
    assert scores.map >= 0.55


@pytest.mark.data
def test_held_out_people_of_cuhk03_are_found_again_by_the_other_camera(data, shipped):
    rows, crops = embedded(shipped, data / "cuhk03-pair1-val-100ids.zip")
    ids, cameras = [crop.identity for crop in crops], [crop.camera for crop in crops]
    assert single_shot_rank1(rows, ids, cameras) >= 0.6
