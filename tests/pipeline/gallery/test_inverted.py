import numpy as np

from pipeline.gallery import Gallery, SearchConfig
from pipeline.gallery.inverted import train
from pipeline.gallery.nearest import FloatScan
from tests.pipeline.gallery.galleries import filled, units

SEARCH = SearchConfig(ivf_above=2000, ivf_lists=20, ivf_probes=4)


def people(num: int) -> np.ndarray:
    """Appearances of forty people in 32 dimensions."""
    vectors = units(40, 32)[np.arange(num) % 40] + 0.5 * units(num, 32, seed=1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def tracks(gallery: Gallery, queries: np.ndarray) -> list[set[str]]:
    return [{found.track for found in row} for row in gallery.search_batch(queries, 10)]


def test_a_gallery_grown_beyond_its_bound_finds_nearly_all_in_few_lists() -> None:
    vectors = people(2400)
    exact, listed = filled(vectors[:2300]), filled(vectors[:2300], SEARCH)
    assert listed._lists is not None
    hits = [
        len(a & b) for a, b in zip(tracks(exact, vectors[2300:]), tracks(listed, vectors[2300:]), strict=True)
    ]
    assert sum(hits) / 1000 > 0.9


def test_the_same_history_gives_the_same_lists_on_another_kind_of_machine() -> None:
    vectors = people(2100)
    other = SearchConfig(scan="float32", ivf_above=2000, ivf_lists=20, ivf_probes=4)
    one, two = filled(vectors, SEARCH), filled(vectors, other)
    assert one.snapshot().centroids_LD.tobytes() == two.snapshot().centroids_LD.tobytes()
    assert one.search_batch(vectors[:50], 10) == two.search_batch(vectors[:50], 10)


def test_a_gallery_that_shrinks_searches_exhaustively_again() -> None:
    vectors = people(2100)
    gallery = filled(vectors, SEARCH)
    for number in range(1200):
        gallery.remove(f"t{number:05}")
    assert gallery._lists is None
    assert gallery.search(vectors[1500], 1)[0].track == "t01500"


def test_training_uses_no_chance() -> None:
    first, second = (train(people(900), 12, FloatScan()) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
