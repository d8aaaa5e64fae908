import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.gallery import Gallery, SearchConfig, decode, encode
from tests.pipeline.gallery.galleries import NEVER_NS, SEARCHES, D, PlainGallery, filled, unit, units

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "expire", "search"]),
        st.integers(0, 9),  # the track
        st.integers(0, 4),  # the vector: few, so that many are equal
        st.integers(-3, 6),  # how time moves, backwards too
    ),
    max_size=50,
)


def act(gallery: Gallery | PlainGallery, operation: tuple[str, int, int, int], now: int) -> list:
    name, key, seed, _ = operation
    if name == "put":
        return gallery.put(f"t{key}", unit(seed), now)
    if name == "remove":
        gallery.remove(f"t{key}")
    elif name == "expire":
        return gallery.expire(now)
    found = gallery.search(unit(seed + 1), key + 1)
    return [(one.track, round(one.similarity, 12)) for one in found]


def test_the_closest_appearance_comes_first() -> None:
    found = filled([unit(seed) for seed in range(5)]).search(unit(3), 2)
    assert found[0].track == "t00003"
    assert found[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert found[1].similarity == pytest.approx(max(unit(3) @ unit(s) for s in (0, 1, 2, 4)), abs=1e-5)


def test_putting_a_track_again_overwrites_its_row() -> None:
    gallery = Gallery(D, capacity=10, ttl_ns=10)
    gallery.put("a", unit(0), 0)
    gallery.put("a", unit(1), 1)
    assert len(gallery) == 1
    assert gallery.search(unit(1), 1)[0].similarity == pytest.approx(1.0, abs=1e-5)


def test_an_appearance_expires_after_its_time_to_live() -> None:
    gallery = Gallery(D, capacity=10, ttl_ns=10)
    gallery.put("old", unit(0), 0)
    gallery.put("young", unit(1), 5)
    assert gallery.expire(now_ns=9) == []
    assert gallery.expire(now_ns=10) == ["old"]
    assert [found.track for found in gallery.search(unit(0), 5)] == ["young"]


def test_an_appearance_told_late_expires_by_its_own_time() -> None:
    gallery = Gallery(D, capacity=10, ttl_ns=10)
    gallery.put("now", unit(0), 8)
    gallery.put("told late", unit(1), 2)
    assert gallery.expire(now_ns=12) == ["told late"]


def test_a_full_gallery_forgets_the_one_put_longest_ago() -> None:
    gallery = Gallery(D, capacity=2, ttl_ns=100)
    gallery.put("a", unit(0), 0)
    gallery.put("b", unit(1), 1)
    gallery.put("a", unit(0), 2)
    assert gallery.put("c", unit(2), 3) == ["b"]
    assert len(gallery) == 2


def test_a_track_put_again_and_again_takes_no_more_memory() -> None:
    gallery = Gallery(D, capacity=4, ttl_ns=NEVER_NS)
    for at_ns in range(100):
        gallery.put("same", unit(0), at_ns)
    assert len(gallery._by_age) <= 2 * gallery.capacity
    assert gallery.expire(NEVER_NS + 99) == ["same"]


def test_equally_similar_appearances_come_in_order_of_their_names() -> None:
    gallery = Gallery(D, capacity=10, ttl_ns=10)
    for track in "dbeac":
        gallery.put(track, unit(0), 0)
    assert [found.track for found in gallery.search(unit(1), 3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "vector",
    [np.full(D, np.nan), np.full(D, np.inf), np.zeros(D), np.full(D, 7.0), np.eye(1, D + 1)[0], np.eye(D)],
    ids=str,
)
def test_a_vector_that_would_poison_the_gallery_is_refused(vector: np.ndarray) -> None:
    gallery = Gallery(D, capacity=2, ttl_ns=100)
    gallery.put("good", unit(0), 0)
    for refuses in (lambda: gallery.put("bad", vector, 1), lambda: gallery.search(vector, 1)):
        with pytest.raises(BadInput):
            refuses()
    assert [found.track for found in gallery.search(unit(0), 5)] == ["good"]


@pytest.mark.parametrize("queries", [np.eye(D)[0], np.eye(D + 1), np.full((2, D), np.nan)], ids=str)
def test_a_batch_with_anything_that_is_no_query_is_refused(queries: np.ndarray) -> None:
    with pytest.raises(BadInput):
        filled([unit(0)]).search_batch(queries, 1)


def test_asking_for_no_neighbours_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        filled([unit(0)]).search(unit(0), 0)


def test_an_empty_batch_has_no_results() -> None:
    assert filled([unit(0)]).search_batch(np.empty((0, D)), 3) == []


def test_an_empty_gallery_finds_nothing() -> None:
    assert Gallery(D, 10, 10).search_batch(units(3), 2) == [[], [], []]


@pytest.mark.parametrize(
    "settings",
    [{"scan": "fast"}, {"ivf_lists": 0}, {"ivf_probes": 0}, {"ivf_above": 10, "ivf_lists": 20}],
    ids=str,
)
def test_a_search_that_makes_no_sense_is_refused(settings: dict) -> None:
    with pytest.raises(BadInput):
        SearchConfig(**settings)


@pytest.mark.parametrize("search", SEARCHES, ids=["auto", "float32", "lists"])
@settings(max_examples=40, deadline=None)
@given(operations=OPERATIONS)
def test_it_answers_like_a_plain_dictionary(search: SearchConfig, operations: list) -> None:
    gallery, plain = Gallery(D, 6, 10, search), PlainGallery(6, 10)
    now = 0
    for operation in operations:
        now += operation[3]
        assert act(gallery, operation, now) == act(plain, operation, now)
        assert len(gallery) == len(plain.rows)


@pytest.mark.parametrize("search", SEARCHES, ids=["auto", "float32", "lists"])
@settings(max_examples=40, deadline=None)
@given(operations=OPERATIONS, cut=st.integers(0, 50))
def test_one_restored_from_a_snapshot_goes_on_bit_for_bit(
    search: SearchConfig, operations: list, cut: int
) -> None:
    gallery = Gallery(D, 6, 10, search)
    now = 0
    for operation in operations[:cut]:
        now += operation[3]
        act(gallery, operation, now)
    content = encode(gallery.snapshot(), "net-1")
    restored = Gallery.restore(decode(content, embedder="net-1", dimension=D), search)
    assert encode(restored.snapshot(), "net-1") == content
    for operation in operations[cut:]:
        now += operation[3]
        assert act(restored, operation, now) == act(gallery, operation, now)
    assert restored.search_batch(units(5), 6) == gallery.search_batch(units(5), 6)
