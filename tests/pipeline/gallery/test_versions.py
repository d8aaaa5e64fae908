import pytest

from pipeline.errors import BadInput
from pipeline.gallery import Gallery, GalleryVersions
from tests.pipeline.gallery.galleries import D, unit


def versions() -> GalleryVersions:
    """Two versions side by side; the new one has embeddings of another length."""
    both = GalleryVersions(capacity=10, ttl_ns=10)
    both.open("v1", D)
    both.open("v2", 4)
    return both


def test_a_query_finds_only_appearances_of_its_own_version() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v1", "b", unit(1), 0)
    both.put("v2", "a", unit(0, 4), 0)
    assert [found.track for found in both.search_batch("v2", unit(0, 4)[None], 5)[0]] == ["a"]
    assert [found.track for found in both.search_batch("v1", unit(1)[None], 5)[0]] == ["b", "a"]


def test_a_version_that_is_not_open_is_refused() -> None:
    with pytest.raises(BadInput, match="never compared"):
        versions().search_batch("v3", unit(0)[None], 5)


def test_a_version_cannot_change_its_dimension() -> None:
    with pytest.raises(BadInput, match="name of its own"):
        versions().open("v1", D + 1)


def test_opening_an_open_version_changes_nothing() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    assert len(both.open("v1", D)) == 1
    assert both.versions == ("v1", "v2")


def test_more_versions_than_may_be_open_are_refused() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    with pytest.raises(BadInput, match="v3"):
        both.open("v3", D)
    assert both.versions == ("v1", "v2")


def test_an_old_version_closes_when_its_last_track_has_been_embedded_anew() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "a", unit(0, 4), 0)
    both.of("v1").remove("a")
    assert both.expire(now_ns=1) == []
    assert both.versions == ("v2",)


def test_an_old_version_closes_when_its_last_track_expires_and_the_current_one_stays() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    assert both.expire(now_ns=10) == ["a"]
    assert both.versions == ("v2",)


def test_a_track_is_forgotten_when_no_version_holds_it_any_more() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "a", unit(0, 4), 5)
    assert both.expire(now_ns=10) == []
    assert both.expire(now_ns=15) == ["a"]


def test_a_track_evicted_from_one_version_but_held_by_another_is_not_forgotten() -> None:
    both = GalleryVersions(capacity=1, ttl_ns=10)
    both.open("v1", D)
    both.open("v2", D)
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "a", unit(0), 0)
    assert both.put("v1", "b", unit(1), 1) == []
    assert both.put("v2", "c", unit(1), 1) == ["a"]


def test_removing_a_track_removes_it_from_all_versions() -> None:
    both = versions()
    both.put("v1", "a", unit(0), 0)
    both.put("v2", "a", unit(0, 4), 0)
    both.remove("a")
    assert both.versions == ("v2",)
    assert len(both.of("v2")) == 0


def test_a_restored_gallery_becomes_the_current_one() -> None:
    both = GalleryVersions(capacity=10, ttl_ns=10)
    gallery = Gallery(D, 10, 10)
    gallery.put("a", unit(0), 0)
    both.adopt("v1", gallery)
    assert both.of("v1") is gallery
    assert both.search_batch("v1", unit(0)[None], 1)[0][0].track == "a"
