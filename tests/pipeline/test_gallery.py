import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.gallery import Gallery

D = 8


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=D).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_the_closest_appearance_comes_first() -> None:
    gallery = Gallery(D, capacity=10, ttl_ns=10)
    for seed in range(5):
        gallery.put(f"t{seed}", unit(seed), at_ns=0)
    found = gallery.search(unit(3), 2)
    assert found[0].track == "t3"
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


def test_a_full_gallery_forgets_the_one_put_longest_ago() -> None:
    gallery = Gallery(D, capacity=2, ttl_ns=100)
    gallery.put("a", unit(0), 0)
    gallery.put("b", unit(1), 1)
    gallery.put("a", unit(0), 2)
    assert gallery.put("c", unit(2), 3) == ["b"]
    assert len(gallery) == 2


@pytest.mark.parametrize(
    "vector", [np.full(D, np.nan), np.zeros(D), np.full(D, 7.0), np.eye(1, D + 1)[0]], ids=str
)
def test_a_vector_that_would_poison_the_gallery_is_refused(vector: np.ndarray) -> None:
    gallery = Gallery(D, capacity=2, ttl_ns=100)
    gallery.put("good", unit(0), 0)
    with pytest.raises(BadInput):
        gallery.put("bad", vector.astype(np.float32), 1)
    assert [found.track for found in gallery.search(unit(0), 5)] == ["good"]


operations = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "expire"]), st.integers(0, 7), st.integers(0, 30)),
    max_size=60,
)


@settings(max_examples=60)
@given(operations)
def test_it_answers_like_a_plain_dictionary(ops: list[tuple[str, int, int]]) -> None:
    gallery = Gallery(D, capacity=100, ttl_ns=10)
    plain: dict[str, tuple[np.ndarray, int]] = {}
    now = 0
    for operation, key, step in ops:
        now += step % 4
        track = f"t{key}"
        if operation == "put":
            gallery.put(track, unit(step), now)
            plain[track] = (unit(step), now)
        elif operation == "remove":
            gallery.remove(track)
            plain.pop(track, None)
        else:
            gone = {name for name, (_, at) in plain.items() if at + 10 <= now}
            assert set(gallery.expire(now)) == gone
            plain = {name: row for name, row in plain.items() if name not in gone}
        assert len(gallery) == len(plain)
        found = gallery.search(unit(99), 100)
        expected = sorted((-float(row @ unit(99)), name) for name, (row, _) in plain.items())
        assert {appearance.track for appearance in found} == set(plain)
        np.testing.assert_allclose([-a.similarity for a in found], [e[0] for e in expected], atol=1e-5)
