from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.gallery import Gallery, GallerySnapshot, decode, encode, load, save
from tests.pipeline.gallery.galleries import D, filled, units

CONTENT = encode(filled(units(5)).snapshot(), "net-1")


def snapshot(**changed: object) -> GallerySnapshot:
    parts = {
        "capacity": 5,
        "ttl_ns": 10,
        "tracks": ("a", "b"),
        "put_ns_N": np.array([1, 2]),
        "embeddings_ND": units(2),
        "centroids_LD": np.empty((0, D), np.float32),
    }
    return GallerySnapshot(**(parts | changed))


def test_a_gallery_saved_to_a_file_comes_back_the_same(tmp_path: Path) -> None:
    gallery, path = filled(units(50)), tmp_path / "site" / "gallery.snapshot"
    save(gallery.snapshot(), "net-1", path)
    restored = Gallery.restore(load(path, embedder="net-1", dimension=D))
    assert restored.search_batch(units(9, seed=1), 50) == gallery.search_batch(units(9, seed=1), 50)
    assert [entry.name for entry in path.parent.iterdir()] == ["gallery.snapshot"]


def test_names_of_any_letters_come_back(tmp_path: Path) -> None:
    gallery = Gallery(D, 3, 10)
    gallery.put('eingang/süd "7"\n', units(1)[0], 0)
    save(gallery.snapshot(), "net-1", tmp_path / "s")
    assert load(tmp_path / "s", embedder="net-1", dimension=D).tracks == ('eingang/süd "7"\n',)


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_one_altered_byte_anywhere_is_noticed(position: int, change: int) -> None:
    altered = bytearray(CONTENT)
    altered[position] ^= change
    with pytest.raises(BadInput, match="rebuild"):
        decode(bytes(altered), embedder="net-1", dimension=D)


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_truncated_snapshot_is_noticed(length: int) -> None:
    with pytest.raises(BadInput, match="rebuild"):
        decode(CONTENT[:length], embedder="net-1", dimension=D)


@pytest.mark.parametrize(("embedder", "dimension"), [("net-2", D), ("net-1", D + 1)])
def test_a_snapshot_of_another_embedder_is_refused(embedder: str, dimension: int) -> None:
    with pytest.raises(BadInput, match=f"expected '{embedder}' of length {dimension}"):
        decode(CONTENT, embedder=embedder, dimension=dimension)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tracks": ("a", "a")},
        {"tracks": ("a",)},
        {"put_ns_N": np.array([1])},
        {"capacity": 1},
        {"centroids_LD": np.eye(1, D + 1, dtype=np.float32)},
    ],
    ids=str,
)
def test_a_snapshot_that_contradicts_itself_is_refused(wrong: dict) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        decode(encode(snapshot(**wrong), "net-1"), embedder="net-1", dimension=D)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 0.0, 3.0])
def test_a_snapshot_with_a_poisoned_vector_makes_no_gallery(poison: float) -> None:
    with pytest.raises(BadInput, match="unit length"):
        Gallery.restore(snapshot(embeddings_ND=np.full((2, D), poison, np.float32)))


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no-such-file"):
        load(tmp_path / "no-such-file", embedder="net-1", dimension=D)
