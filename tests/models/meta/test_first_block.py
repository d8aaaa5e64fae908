import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from models.meta.first_block import Surroundings, convolve_and_pool
from models.meta.normalization import EPSILON


def _random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def _parameters(num_tasks, filters, channels):
    return (
        _random(num_tasks, filters, channels, 3, 3, seed=1).requires_grad_(),
        _random(num_tasks, filters, seed=2).requires_grad_(),
        _random(num_tasks, filters, seed=3).requires_grad_(),
    )


def _by_torch(x_NCHW, weights, scale, shift):
    normalized = F.batch_norm(
        F.conv2d(x_NCHW, weights, padding=1), None, None, scale, shift, training=True, eps=EPSILON
    )
    return F.max_pool2d(normalized.relu(), 2).permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (7, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_block_is_what_torch_does_in_four_layers_task_by_task(size, channels):
    x_TNCHW, parameters = _random(2, 3, channels, *size), _parameters(2, 4, channels)
    pooled_TNhwF = convolve_and_pool(Surroundings.of(x_TNCHW), *parameters)
    expected = [_by_torch(*of_task) for of_task in zip(x_TNCHW, *parameters, strict=True)]
    torch.testing.assert_close(pooled_TNhwF, torch.stack(expected))


@pytest.mark.parametrize("size", [(4, 2), (5, 3)])
def test_the_first_block_has_both_derivatives(size):
    images = Surroundings.of(_random(2, 2, 1, *size))

    def block(*parameters):
        return convolve_and_pool(images, *parameters)

    assert gradcheck(block, _parameters(2, 3, 1))
    assert gradgradcheck(block, _parameters(2, 3, 1))


def test_images_of_few_grey_values_whose_windows_tie_have_the_derivatives_that_torch_gives_them():
    x_TNCHW = torch.zeros(1, 2, 1, 6, 6, dtype=torch.float64)
    x_TNCHW[0, 0, 0, 4:, 4:] = 1
    x_TNCHW[0, 1, 0, 0, 5] = 1
    parameters = _parameters(1, 4, 1)
    ours = convolve_and_pool(Surroundings.of(x_TNCHW), *parameters)
    expected = _by_torch(x_TNCHW[0], *(value[0] for value in parameters))
    weighting = torch.arange(ours.numel(), dtype=torch.float64).view(ours.shape)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weighting).sum(), parameters),
        torch.autograd.grad((expected * weighting[0]).sum(), parameters),
    )


def test_images_without_anything_on_them_move_no_weight():
    parameters = _parameters(1, 4, 1)
    pooled = convolve_and_pool(Surroundings.of(torch.zeros(1, 2, 1, 4, 4, dtype=torch.float64)), *parameters)
    by_weights, _, by_shift = torch.autograd.grad(pooled.sum(), parameters)
    assert not by_weights.any()
    torch.testing.assert_close(by_shift, 8.0 * (parameters[2] > 0).double())
