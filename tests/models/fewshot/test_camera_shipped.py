import numpy as np
import pytest

from models.embedders import EmbedderConfig, build_embedder
from models.errors import WeightsCorrupt, WeightsUnavailable
from models.fewshot.camera import CameraPairs
from models.fewshot.camera_folding import fold
from models.fewshot.camera_prior import CameraInitialization
from models.fewshot.camera_shipped import SHIPPED, initialization_for, pack

D = 8


def initialization():
    random = np.random.default_rng(0)
    rows = random.normal(size=(2, 20, D))
    return fold(
        CameraPairs(rows[0], rows[0] + 0.1 * rows[1] + 0.3, np.ones(20)), CameraInitialization.blank(D)
    )


def test_an_initialization_survives_its_file(tmp_path):
    path = tmp_path / "camera.safetensors"
    path.write_bytes(pack(initialization(), "osnet@1"))
    again = initialization_for("osnet@1", D, path)
    for name, array in initialization().arrays().items():
        np.testing.assert_allclose(again.arrays()[name], array, atol=1e-3)


def test_for_embeddings_of_another_version_nothing_is_known(tmp_path):
    path = tmp_path / "camera.safetensors"
    path.write_bytes(pack(initialization(), "osnet@1"))
    assert len(initialization_for("osnet@2", D + 1, path).directions) == 0


@pytest.mark.parametrize(
    "change", [lambda c: c[:40], lambda c: b"", lambda c: b"\xff" * 64, lambda c: c[:-3]]
)
def test_a_torn_file_is_refused(tmp_path, change):
    path = tmp_path / "camera.safetensors"
    path.write_bytes(change(pack(initialization(), "osnet@1")))
    with pytest.raises(WeightsCorrupt, match=r"camera\.safetensors"):
        initialization_for("osnet@1", D, path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"camera\.safetensors"):
        initialization_for("osnet@1", D, tmp_path / "camera.safetensors")


def test_what_is_shipped_is_small_and_for_the_shipped_embedder():
    embedder = build_embedder(EmbedderConfig(device="cpu"))
    assert SHIPPED.stat().st_size < 1 << 20
    assert len(initialization_for(embedder.version, embedder.dimension).directions) > 0
