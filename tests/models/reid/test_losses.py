import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reid.losses import batch_hard_triplet, identity_loss


def slow_triplet(rows, labels):
    total = 0.0
    for i, row in enumerate(rows):
        cosines = [sum(a * b for a, b in zip(row, other, strict=True)) for other in rows]
        match = min(c for c, label in zip(cosines, labels, strict=True) if label == labels[i])
        stranger = max(c for c, label in zip(cosines, labels, strict=True) if label != labels[i])
        total += math.log1p(math.exp(10 * (stranger - match + 0.2)))
    return total / len(rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_triplet_loss_equals_mining_crop_by_crop(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(12, 5, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.arange(12) % 4
    loss = batch_hard_triplet(rows, labels, scale=10.0, margin=0.2)
    assert float(loss) == pytest.approx(slow_triplet(rows.tolist(), labels.tolist()))


def test_drawing_all_features_together_does_not_lower_the_triplet_loss():
    labels = torch.arange(12) % 4
    spread = F.normalize(F.one_hot(labels).double() + 0.01 * torch.rand(12, 4), dim=1)
    together = F.normalize(1 + 0.01 * torch.rand(12, 4, dtype=torch.float64), dim=1)
    losses = [float(batch_hard_triplet(rows, labels, scale=16.0, margin=0.1)) for rows in (spread, together)]
    assert losses[0] < 0.01 < 1 < losses[1]


def test_the_triplet_loss_of_one_person_is_nothing_and_has_a_gradient():
    rows = torch.randn(4, 3, requires_grad=True)
    loss = batch_hard_triplet(rows, torch.zeros(4, dtype=torch.long), scale=16.0, margin=0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not rows.grad.any()


def test_smoothing_shares_the_label_s_mass_among_all_identities():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = torch.log_softmax(logits, dim=1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    assert float(identity_loss(logits, torch.tensor([0]), 0.1)) == pytest.approx(float(expected))
