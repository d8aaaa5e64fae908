"""Convolves, normalizes, rectifies and pools the images themselves, which no step of learning changes.

A pixel's 3 x 3 surroundings are a vector, and the convolution is a matrix product with all of them. Their covariance
is known beforehand, so that the variance of what comes out is a quadratic form of the weights: normalization goes
into these, and what is left to do for each pixel is a product, of which each window's maximum is taken.

Legend of shape suffixes: T tasks, N images of a task, C channels, F filters, H height, W width, 4 the pixels of a
window of pooling, h and w windows along H and W, P windows of all images (N x h x w), D what a vector holds (9 x C,
and a constant 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from models.meta.normalization import EPSILON


class Surroundings(NamedTuple):
    """Holds what the first block needs of images."""

    vectors_4TDNhw: Tensor
    """Of each pixel, less their mean over a task's pixels; the last number is 1, which shifts are multiplied with."""
    covariance_TDD: Tensor
    """Of these vectors, without the last number."""

    @classmethod
    def of(cls, x_TNCHW: Tensor) -> Surroundings:
        """Take images apart, as constants; what fills no window at an edge counts for the covariance alone."""
        nearby_TNCHW33 = F.pad(x_TNCHW.detach(), (1, 1, 1, 1)).unfold(3, 3, 1).unfold(4, 3, 1)
        vectors_TDNHW = nearby_TNCHW33.permute(0, 2, 5, 6, 1, 3, 4).flatten(1, 3)
        vectors_TDNHW = vectors_TDNHW - vectors_TDNHW.mean((2, 3, 4), keepdim=True)
        covariance_TDD = vectors_TDNHW.flatten(2) @ vectors_TDNHW.flatten(2).mT / vectors_TDNHW[0, 0].numel()
        with_one = torch.cat([vectors_TDNHW, torch.ones_like(vectors_TDNHW[:, :1])], 1)
        height, width = (size // 2 * 2 for size in with_one.shape[3:])
        pixels = [with_one[..., i:height:2, j:width:2] for i in range(2) for j in range(2)]
        return cls(torch.stack(pixels), covariance_TDD)


def convolve_and_pool(
    images: Surroundings, weights_TFC33: Tensor, scale_TF: Tensor, shift_TF: Tensor
) -> Tensor:
    """Return max pooled relu(scale x normalized convolution + shift), T x N x h x w x F; twice differentiable."""
    weights_TDF = weights_TFC33.flatten(2).mT
    variance_TF = (weights_TDF * (images.covariance_TDD @ weights_TDF)).sum(1)
    gain_TF = scale_TF * (variance_TF + EPSILON).rsqrt()
    affine_TDF = torch.cat([weights_TDF * gain_TF[:, None], shift_TF[:, None]], 1)
    pooled_TPF: Tensor = _ProductAndPool.apply(images.vectors_4TDNhw.flatten(3), affine_TDF)
    return torch.unflatten(pooled_TPF, 1, images.vectors_4TDNhw.shape[3:])


class _ProductAndPool(torch.autograd.Function):
    """Returns the largest of each window's four products, or zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, vectors_4TDP: Tensor, weights_TDF: Tensor) -> Tensor:
        winners = vectors_4TDP.mT @ weights_TDF
        top = winners.amax(0).relu_()
        winners.eq_(top)
        share = top.sign() / winners.sum(0).clamp_(min=1)
        ctx.save_for_backward(vectors_4TDP, winners, share)
        return top

    @staticmethod
    def backward(ctx: Any, grad_TPF: Tensor) -> tuple[None, Tensor]:
        by_weights: Tensor = _ProductAndPoolGradient.apply(grad_TPF, *ctx.saved_tensors)
        return None, by_weights


class _ProductAndPoolGradient(torch.autograd.Function):
    """Takes which pixels win for constant: all else is linear. One buffer serves the four pixels and stays in cache.

    `winners` is 1 at the maxima of windows, `share` what each of them gets of its window's gradient: nothing where
    the window is off.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, grad_TPF: Tensor, vectors_4TDP: Tensor, winners_4TPF: Tensor, share_TPF: Tensor
    ) -> Tensor:
        ctx.save_for_backward(vectors_4TDP, winners_4TPF, share_TPF)
        shared = share_TPF * grad_TPF
        buffer = torch.empty_like(shared)
        by_weights = shared.new_zeros(len(shared), vectors_4TDP.shape[2], shared.shape[-1])
        for vectors, winners in zip(vectors_4TDP, winners_4TPF, strict=True):
            by_weights.baddbmm_(vectors, torch.mul(winners, shared, out=buffer))
        return by_weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad2_TDF: Tensor) -> tuple[Tensor, None, None, None]:
        vectors_4TDP, winners_4TPF, share_TPF = ctx.saved_tensors
        buffer = torch.empty_like(share_TPF)
        selected = torch.zeros_like(share_TPF)
        for vectors, winners in zip(vectors_4TDP, winners_4TPF, strict=True):
            selected.addcmul_(winners, torch.bmm(vectors.mT, grad2_TDF, out=buffer))
        return selected.mul_(share_TPF), None, None, None
