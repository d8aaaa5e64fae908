import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadEpisode
from models.meta.episodes import EpisodeSampler, EpisodeShape

NUM_CLASSES, PER_CLASS = 6, 5
Y = torch.arange(NUM_CLASSES).repeat(PER_CLASS)
X = torch.arange(len(Y)).float()[:, None]
"""The example's own number: so a drawn example says which it is."""


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, NUM_CLASSES), st.integers(1, 2), st.integers(1, 3), st.integers(0, 1000))
def test_an_episode_has_the_asked_shape_and_no_example_twice(ways, shots, queries, seed):
    sampler = EpisodeSampler(X, Y, EpisodeShape(ways=ways, shots=shots, queries=queries))
    batch = sampler.draw(2, _seeded(seed))
    assert batch.support_y.tolist() == [[way for way in range(ways) for _ in range(shots)]] * 2
    for support, query in zip(batch.support_x, batch.query_x, strict=True):
        numbers = torch.cat([support, query]).flatten().long()
        assert len(numbers.unique()) == ways * (shots + queries)
        assert len(Y[numbers].unique()) == ways


def test_support_and_query_of_a_label_are_of_one_class():
    batch = EpisodeSampler(X, Y, EpisodeShape(ways=4, queries=1)).draw(1, _seeded(0))
    assert Y[batch.support_x[0, :, 0].long()].tolist() == Y[batch.query_x[0, :, 0].long()].tolist()


def test_equal_seeds_draw_equal_episodes():
    sampler = EpisodeSampler(X, Y, EpisodeShape(ways=3))
    assert torch.equal(sampler.draw(4, _seeded(7)).support_x, sampler.draw(4, _seeded(7)).support_x)
    assert not torch.equal(sampler.draw(4, _seeded(7)).support_x, sampler.draw(4, _seeded(8)).support_x)


def test_classes_with_too_few_examples_are_never_drawn():
    y = torch.cat([Y, torch.tensor([NUM_CLASSES])])
    sampler = EpisodeSampler(torch.arange(len(y)).float()[:, None], y, EpisodeShape(ways=NUM_CLASSES))
    assert len(Y) not in sampler.draw(8, _seeded(0)).support_x


def test_more_ways_than_classes_are_refused():
    with pytest.raises(BadEpisode, match="6 of 6 classes"):
        EpisodeSampler(X, Y, EpisodeShape(ways=7))
