import numpy as np
import pytest

from models.errors import ModelError
from models.fewshot.camera import CameraAdapter
from models.fewshot.classes import ClassHead
from models.fewshot.parts import NOTHING_LEARNED, FrozenNetworks, LearnedParts, parts_of
from models.learned import Backbones, LearnedVersion
from tests.cluster.squares import ColourEmbedder, SquareDetector

NETWORKS = FrozenNetworks(SquareDetector(), ColourEmbedder())
REDNESS = ClassHead(np.array([0, 0, 4], np.float32), -2.0)
NO_BLUE = CameraAdapter(
    -np.eye(3, 1, dtype=np.float32), np.eye(3, 1, dtype=np.float32), np.zeros(3, np.float32)
)


def version(embedder: str = "colour@1", **parts: dict[str, np.ndarray]) -> LearnedVersion:
    arrays = {
        f"{name.replace('__', '/')}/{leaf}": array
        for name, part in parts.items()
        for leaf, array in part.items()
    }
    return LearnedVersion(
        arrays=arrays, backbones=Backbones(detector="squares@1", embedder=embedder), created_ns=1
    )


def test_no_version_changes_nothing() -> None:
    assert parts_of("", None, NETWORKS) is NOTHING_LEARNED
    looks = np.eye(3, dtype=np.float32)
    assert NOTHING_LEARNED.adapted(looks, [("door", 3)]) is looks


def test_a_version_gives_its_classes_and_cameras() -> None:
    parts = parts_of(
        "learned@1", version(class__red=REDNESS.arrays(), camera__door=NO_BLUE.arrays()), NETWORKS
    )
    assert parts.version == "learned@1"
    assert parts.classes is not None
    assert parts.classes.names == ("red",)
    np.testing.assert_allclose(parts.classes.logits(np.eye(3, dtype=np.float32)), [[-2], [-2], [2]])
    assert set(parts.cameras) == {"door"}


def test_only_the_rows_of_a_taught_camera_are_adapted() -> None:
    parts = LearnedParts(cameras={"door": NO_BLUE})
    looks = np.array([[0.6, 0.8, 0], [0.6, 0.8, 0], [0.6, 0.8, 0]], np.float32)
    adapted = parts.adapted(looks, [("yard", 1), ("door", 1), ("roof", 1)])
    np.testing.assert_allclose(adapted, [[0.6, 0.8, 0], [0, 1, 0], [0.6, 0.8, 0]], atol=1e-6)


def test_parts_made_on_another_network_are_refused_with_both_named() -> None:
    with pytest.raises(ModelError, match=r"class.*other@9.*colour@1"):
        parts_of("learned@1", version("other@9", class__red=REDNESS.arrays()), NETWORKS)


def test_parts_with_a_missing_array_are_refused() -> None:
    with pytest.raises(ModelError, match="ill-formed"):
        parts_of("learned@1", version(class__red={"weight": REDNESS.weight_D}), NETWORKS)
