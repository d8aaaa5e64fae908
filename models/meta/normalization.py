"""Normalizes, rectifies and pools in one step, by the statistics of a task's own set, with closed-form derivatives.

Batch normalization (Ioffe & Szegedy, ICML 2015), ReLU and 2 x 2 max pooling: only the largest of a window goes
on, so that most of the arithmetic is done on a quarter of the pixels. What is left of both derivatives is an
affine map of the full-size tensors with coefficients a channel.

Legend of shape suffixes: N images, H height, W width, G channels of all tasks, h and w windows along H and W.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

EPSILON: Final = 1e-5
PIXELS: Final = (0, 1, 2)


def normalize_and_pool(y_NHWG: Tensor, scale_G: Tensor, shift_G: Tensor) -> Tensor:
    """Return max pooled relu(scale x normalized y + shift), N x h x w x G; twice differentiable.

    Equal maxima of a window share its gradient, as in `torch.amax`.
    """
    pooled: Tensor = _NormalizeAndPool.apply(y_NHWG, scale_G, shift_G)
    return pooled


class _NormalizeAndPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean = y.mean(PIXELS)
        inverse_std = ((y - mean).square_().mean(PIXELS) + EPSILON).rsqrt_()
        sign = 1.0 - 2.0 * (scale < 0)
        winners = _windows(y) * sign
        top = _reduce(torch.maximum, winners)
        winners.eq_(_spread(top))
        normalized = (top * sign - mean) * inverse_std
        pooled = torch.addcmul(shift, normalized, scale).relu_()
        is_on = (pooled > 0).to(y.dtype)
        share = is_on / _reduce(torch.add, winners)
        ctx.save_for_backward(y, scale, mean, inverse_std, winners, share, is_on, normalized * is_on)
        return pooled

    @staticmethod
    def backward(ctx: Any, grad_NhwG: Tensor) -> tuple[Tensor | None, ...]:
        gradients: tuple[Tensor, ...] = _NormalizeAndPoolGradient.apply(grad_NhwG, *ctx.saved_tensors)
        return gradients


class _NormalizeAndPoolGradient(torch.autograd.Function):
    """Takes which pixels win for constant; that all the rest depends on y, its own derivative accounts for.

    `winners` is 1 at the maxima of windows, `share` what each of them gets of its window's gradient, `is_on`
    whether the window passes the ReLU, and `chosen` the normalized maximum where it does.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        grad: Tensor,
        y: Tensor,
        scale: Tensor,
        mean: Tensor,
        inverse_std: Tensor,
        *pooling: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        winners, share, is_on, chosen = pooling
        to_shift, to_scale = (is_on * grad).sum(PIXELS), (chosen * grad).sum(PIXELS)
        ctx.save_for_backward(grad, y, scale, mean, inverse_std, *pooling, to_shift, to_scale)
        gain = scale * inverse_std
        pull = gain / -_num_pixels(y)
        slope = pull * inverse_std * to_scale
        to_y = torch.addcmul(pull * to_shift - mean * slope, y, slope)
        _windows(to_y).addcmul_(winners, _spread(gain * share * grad))
        return to_y, to_scale, to_shift

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad2_y: Tensor, grad2_scale: Tensor, grad2_shift: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad, y, scale, mean, inverse_std, winners, share, is_on, chosen, to_shift, to_scale = (
            ctx.saved_tensors
        )
        gain = scale * inverse_std
        unit = inverse_std / -_num_pixels(y)
        pull = scale * unit
        total = grad2_y.sum(PIXELS)
        moment = ((grad2_y * y).sum(PIXELS) - mean * total) * inverse_std
        of_shift = torch.addcmul(grad2_shift, pull, total)
        of_scale = torch.addcmul(grad2_scale, pull, moment)
        selected = share * _reduce(torch.add, _windows(grad2_y) * winners)
        to_grad = gain * selected + of_shift * is_on + of_scale * chosen
        product = (grad * selected).sum(PIXELS) - (to_shift * total + to_scale * moment) / _num_pixels(y)
        # By normalized y it is of_scale x spread grad + weight x grad2_y; slope and offset take that through y's
        # mean and deviation.
        weight = pull * to_scale
        slope = unit * inverse_std * (weight * moment + of_scale * to_scale + gain * product)
        offset = unit * (weight * total + of_scale * to_shift) - mean * slope
        to_y = torch.addcmul(offset, y, slope).addcmul_(grad2_y, weight * inverse_std)
        _windows(to_y).addcmul_(winners, _spread(of_scale * inverse_std * share * grad))
        return to_grad, to_y, inverse_std * product, None, None, None, None, None, None


def _num_pixels(y_NHWG: Tensor) -> float:
    """Return how many pixels a statistic is of; a float, since a tensor divided by an integer is converted first."""
    return float(y_NHWG[..., 0].numel())


def _windows(y_NHWG: Tensor) -> Tensor:
    """View the windows, N x h x 2 x w x 2 x G; a last row or column that fills none is left out."""
    height, width = y_NHWG.shape[1] // 2, y_NHWG.shape[2] // 2
    whole = torch.unflatten(y_NHWG[:, : 2 * height, : 2 * width], 2, (width, 2))
    return torch.unflatten(whole, 1, (height, 2))


def _reduce(operation: Callable[[Tensor, Tensor], Tensor], windows: Tensor) -> Tensor:
    """Reduce each window to one value, N x h x w x G: much faster than a reduction over two axes."""
    columns = operation(windows[:, :, :, :, 0], windows[:, :, :, :, 1])
    return operation(columns[:, :, 0], columns[:, :, 1])


def _spread(pooled_NhwG: Tensor) -> Tensor:
    """View one value a window so that it goes to all four of its pixels."""
    return pooled_NhwG[:, :, None, :, None]
