import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from models.meta.convolution import convolve
from models.meta.normalization import EPSILON, normalize_and_pool


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


def test_each_task_is_convolved_with_its_own_weights():
    x_TNCHW, weights = _random(3, 2, 2, 5, 4), _random(3, 4, 2, 3, 3, seed=1)
    y_NGHW = convolve(x_TNCHW.permute(1, 0, 2, 3, 4).flatten(1, 2), weights)
    expected = [F.conv2d(x, weight, padding=1) for x, weight in zip(x_TNCHW, weights, strict=True)]
    torch.testing.assert_close(y_NGHW, torch.cat(expected, 1))


def test_a_convolution_has_both_derivatives():
    x_NGHW, weights = _random(2, 4, 3, 4), _random(2, 3, 2, 3, 3, seed=1)
    assert gradcheck(convolve, (x_NGHW, weights))
    assert gradgradcheck(convolve, (x_NGHW, weights))


def test_a_convolution_of_constant_images_has_both_derivatives():
    x_NGHW, weights = _random(2, 4, 3, 4).detach(), _random(2, 3, 2, 3, 3, seed=1)
    assert gradcheck(convolve, (x_NGHW, weights))
    assert gradgradcheck(convolve, (x_NGHW, weights))


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (7, 7)])
def test_normalizing_and_pooling_is_what_torch_does_in_three_layers(size):
    y_NHWG, scale, shift = _random(3, *size, 4), _random(4, seed=1), _random(4, seed=2)
    normalized = F.batch_norm(
        y_NHWG.permute(0, 3, 1, 2), None, None, scale, shift, training=True, eps=EPSILON
    )
    expected = F.max_pool2d(normalized.relu(), 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(normalize_and_pool(y_NHWG, scale, shift), expected)


@pytest.mark.parametrize("size", [(4, 2), (5, 3)])
def test_normalizing_and_pooling_has_both_derivatives(size):
    inputs = _random(2, *size, 3), _random(3, seed=1), _random(3, seed=2)
    assert gradcheck(normalize_and_pool, inputs)
    assert gradgradcheck(normalize_and_pool, inputs)


def test_equal_maxima_of_a_window_share_its_gradient():
    y_NHWG = torch.tensor([3.0, 3.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).view(2, 2, 2, 1)
    y_NHWG.requires_grad_()
    pooled = normalize_and_pool(
        y_NHWG, torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    )
    (grad,) = torch.autograd.grad(pooled[0].sum(), y_NHWG)
    assert grad[0, 0, 0] == grad[0, 0, 1]
    torch.testing.assert_close(grad.sum(), torch.zeros((), dtype=torch.float64))
