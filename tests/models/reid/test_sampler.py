import numpy as np
import pytest

from models.reid.sampler import IdentityBatches

RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(12), 10)
CAMERAS = np.tile(np.repeat([1, 2], 5), 12)
SETS = (LABELS >= 8).astype(np.int64)
BATCHES = IdentityBatches(LABELS, CAMERAS, SETS, identities=4, crops=4)


def epoch(seed=0):
    return list(BATCHES.epoch(np.random.default_rng(seed)))


def test_an_epoch_has_about_as_many_crops_as_there_are():
    assert len(epoch()) == BATCHES.num_batches == 120 // 16


@pytest.mark.parametrize("batch", epoch())
def test_a_batch_has_p_identities_with_k_different_crops_each_half_from_each_set(batch):
    labels, counts = np.unique(LABELS[batch], return_counts=True)
    assert counts.tolist() == [4] * 4
    assert len(set(batch.tolist())) == 16
    assert (labels >= 8).sum() == 2


@pytest.mark.parametrize("batch", epoch())
def test_the_crops_of_an_identity_are_shared_out_over_its_cameras(batch):
    assert (CAMERAS[batch].reshape(4, 4) == 1).sum(axis=1).tolist() == [2] * 4


def test_an_identity_comes_back_only_after_all_others_of_its_set():
    drawn = [label for batch in epoch() for label in LABELS[batch].reshape(4, 4)[:, 0] if label < 8]
    assert sorted(drawn[:8]) == list(range(8))


def test_the_generator_alone_decides_the_batches():
    assert [b.tolist() for b in epoch(3)] == [b.tolist() for b in epoch(3)]
    assert [b.tolist() for b in epoch(3)] != [b.tolist() for b in epoch(4)]


def test_an_identity_with_too_few_crops_repeats_them():
    few = IdentityBatches(
        np.array([0, 1, 1]), np.array([1, 1, 2]), np.zeros(3, np.int64), identities=2, crops=4
    )
    (batch,) = few.epoch(RANDOM)
    assert sorted(batch.tolist()) == [0, 0, 0, 0, 1, 1, 2, 2]
