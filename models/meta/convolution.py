"""Convolves the images of many tasks at once, each task with its own weights, with derivatives up to the second.

Tasks are groups of a grouped convolution, pixels lie channels-last. A Function of its own, since autograd's
second derivative of a grouped convolution takes the groups one by one.

Legend of shape suffixes: T tasks, N images of a task, C channels, F filters, H height, W width, G channels or
filters of all tasks (T x C or T x F).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def convolve(x_NGHW: Tensor, weights_TFC33: Tensor) -> Tensor:
    """Convolve 3 x 3 with zero padding, and return N x G x H x W; twice differentiable."""
    weights_GC33 = weights_TFC33.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    outputs: Tensor = _Convolution.apply(x_NGHW, weights_GC33, len(weights_TFC33))
    return outputs


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weights: Tensor, num_tasks: int) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.num_tasks = num_tasks  # type: ignore[attr-defined]  # a context carries what it is given
        return F.conv2d(x, weights, padding=1, groups=num_tasks)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weights = ctx.saved_tensors
        return *_ConvolutionGradient.apply(grad, x, weights, ctx.num_tasks), None


class _ConvolutionGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, grad: Tensor, x: Tensor, weights: Tensor, num_tasks: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(grad, x, weights)
        ctx.num_tasks = num_tasks  # type: ignore[attr-defined]  # as above
        return _gradients(grad, x, weights, num_tasks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad2_x: Tensor, grad2_weights: Tensor) -> tuple[Tensor | None, ...]:
        grad, x, weights = ctx.saved_tensors
        to_grad = F.conv2d(x, grad2_weights, padding=1, groups=ctx.num_tasks)
        to_grad += F.conv2d(grad2_x, weights, padding=1, groups=ctx.num_tasks)
        return to_grad, *_gradients(grad, grad2_x, grad2_weights, ctx.num_tasks), None


def _gradients(grad: Tensor, x: Tensor, weights: Tensor, num_tasks: int) -> tuple[Tensor, Tensor]:
    """Return the derivatives by input and weights."""
    by_x, by_weights, _ = torch.ops.aten.convolution_backward(
        grad, x, weights, None, [1, 1], [1, 1], [1, 1], False, [0, 0], num_tasks, [True, True, False]
    )
    return by_x, by_weights
