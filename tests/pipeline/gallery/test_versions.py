import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.gallery import GalleryVersions
from tests.pipeline.gallery.galleries import D, unit


def versions() -> GalleryVersions:
    """Two versions side by side; the new one has embeddings of another length."""
    both = GalleryVersions(capacity=10, ttl_ns=10)
    both.open("v1", D)
    both.open("v2", 4)
    return both


def found(both: GalleryVersions, version: str, vector_D: np.ndarray) -> list[str]:
    """The tracks that a search finds."""
    return [appearance.track for appearance in both.search_batch(version, vector_D[None], 5)[0]]


def test_a_query_finds_only_appearances_of_its_own_version() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v1", "b", unit(1), 0)
    both.put("v2", "c", unit(0, 4), 0)
    assert found(both, "v2", unit(0, 4)) == ["c"]
    assert found(both, "v1", unit(1)) == ["b", "a"]
    assert len(both) == 3


def test_a_version_that_is_not_open_has_no_appearances() -> None:
    assert versions().search_batch("v3", np.stack([unit(0), unit(1)]), 5) == [[], []]


def test_a_version_cannot_change_its_dimension() -> None:
    with pytest.raises(BadInput, match="name of its own"):
        versions().open("v1", D + 1)


def test_opening_an_open_version_changes_nothing() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.open("v1", D)
    assert both.versions == ("v1", "v2")
    assert found(both, "v1", unit(0)) == ["a"]


def test_more_versions_than_may_be_open_are_refused_and_nothing_changes() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    for refused in (
        lambda: both.open("v3", D),
        lambda: both.checked("v3", unit(0)),
        lambda: both.put("v3", "b", unit(0), 0),
    ):
        with pytest.raises(BadInput, match="'v3' beside those of v1, v2"):
            refused()
    assert both.versions == ("v1", "v2")
    assert len(both) == 1


@pytest.mark.parametrize("vector_D", [np.full(D, np.nan, np.float32), np.zeros(D, np.float32), np.ones(0)])
@pytest.mark.parametrize("version", ["v1", "new"])
def test_a_poisoned_embedding_is_refused_and_opens_nothing(version: str, vector_D: np.ndarray) -> None:
    one = GalleryVersions(capacity=10, ttl_ns=10)
    one.open("v1", D)
    with pytest.raises(BadInput, match=r"unit length|shape"):
        one.put(version, "a", vector_D, 0)
    assert one.versions == ("v1",)
    assert len(one) == 0


def test_an_embedding_of_no_version_is_refused() -> None:
    with pytest.raises(BadInput, match="no embedder version"):
        GalleryVersions(capacity=10, ttl_ns=10).put("", "a", unit(0), 0)


def test_an_embedding_of_a_new_version_opens_it() -> None:
    one = GalleryVersions(capacity=10, ttl_ns=10)
    one.put("v1", "a", unit(0), 0)
    assert one.versions == ("v1",)
    assert found(one, "v1", unit(0)) == ["a"]


def test_a_track_that_was_embedded_anew_is_found_by_its_new_version_alone() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v1", "b", unit(1), 0)
    both.put("v2", "a", unit(0, 4), 0)
    assert found(both, "v1", unit(0)) == ["b"]
    assert found(both, "v2", unit(0, 4)) == ["a"]


def test_an_old_version_closes_when_its_last_track_has_been_embedded_anew() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "a", unit(0, 4), 0)
    assert both.versions == ("v2",)


def test_an_old_version_closes_when_its_last_track_expires_and_the_current_one_stays() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "b", unit(0, 4), 5)
    assert both.expire(now_ns=10) == ["a"]
    assert both.versions == ("v2",)
    assert both.expire(now_ns=15) == ["b"]
    assert both.versions == ("v2",)


def test_a_track_evicted_to_make_room_is_told() -> None:
    one = GalleryVersions(capacity=1, ttl_ns=10)
    assert one.put("v1", "a", unit(0), 0) == []
    assert one.put("v1", "b", unit(1), 1) == ["a"]


def test_a_removed_track_is_found_no_more() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.remove("a")
    both.remove("unknown")
    assert both.versions == ("v2",)
    assert found(both, "v1", unit(0)) == []
