"""Defines what the re-identification network is trained on: telling known identities apart, and a metric for others.

Legend of shape suffixes: N crops, D features, K identities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_hard_triplet(embeddings_ND: Tensor, labels_N: Tensor, *, scale: float, margin: float) -> Tensor:
    """Make each crop's least similar match more similar than its most similar stranger; the mean over crops.

    Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017 (arXiv 1703.07737), with a
    soft margin, on cosines of rows of unit length: ln(1 + exp(scale (s- - s+ + margin))). On distances of rows of free
    length it fell into its trap here: all features drew together, and the loss stayed at ln 2. A batch of one identity
    has no loss.
    """
    cosines_NN = embeddings_ND @ embeddings_ND.T
    same_NN = labels_N[:, None] == labels_N
    if bool(same_NN.all()):
        return embeddings_ND.sum() * 0
    match_N = cosines_NN.masked_fill(~same_NN, torch.inf).amin(dim=1)
    stranger_N = cosines_NN.masked_fill(same_NN, -torch.inf).amax(dim=1)
    return F.softplus(scale * (stranger_N - match_N + margin)).mean()


def identity_loss(logits_NK: Tensor, labels_N: Tensor, smoothing: float) -> Tensor:
    """Return the cross entropy with smoothed labels (Szegedy et al., CVPR 2016); the mean over crops."""
    return F.cross_entropy(logits_NK, labels_N, label_smoothing=smoothing)
