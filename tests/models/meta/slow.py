"""Is the reference: one task at a time, torch's own layers, nothing clever."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.meta.networks import ConvNet
from models.meta.tasks import TaskBatch


def conv_net(parameters: Mapping[str, Tensor], x_NCHW: Tensor) -> Tensor:
    """Return the scores of one set."""
    for layer in range(sum(name.startswith("conv") for name in parameters)):
        x_NCHW = F.conv2d(x_NCHW, parameters[f"conv{layer}.weight"], padding=1)
        scale, shift = parameters[f"norm{layer}.scale"], parameters[f"norm{layer}.shift"]
        x_NCHW = F.max_pool2d(F.batch_norm(x_NCHW, None, None, scale, shift, training=True).relu(), 2)
    return x_NCHW.flatten(1) @ parameters["head.weight"] + parameters["head.bias"]


def meta_gradient(
    parameters: Mapping[str, Tensor],
    rates: Mapping[str, Tensor | float],
    batch: TaskBatch,
    steps: int,
    order: int,
) -> dict[str, Tensor]:
    """Return the gradient of the summed query losses by all parameters and learned rates; only `rates` adapt."""
    learned = {
        **parameters,
        **{f"rate.{name}": rate for name, rate in rates.items() if isinstance(rate, Tensor)},
    }
    total = torch.zeros((), dtype=torch.float64)
    for task in range(len(batch)):
        fast = dict(parameters)
        for _ in range(steps):
            loss = F.cross_entropy(conv_net(fast, batch.support_x[task]), batch.support_y[task])
            gradients = torch.autograd.grad(loss, [fast[name] for name in rates], create_graph=order == 2)
            fast |= {
                name: fast[name] - rates[name] * gradient
                for name, gradient in zip(rates, gradients, strict=True)
            }
        total = total + F.cross_entropy(conv_net(fast, batch.query_x[task]), batch.query_y[task])
    return dict(zip(learned, torch.autograd.grad(total, list(learned.values())), strict=True))


def small_problem(num_tasks: int = 3) -> tuple[ConvNet, dict[str, Tensor], TaskBatch]:
    """Return a network of five filters, its weights, with scales of both signs, and random 3-way tasks."""
    generator = torch.Generator().manual_seed(0)
    network = ConvNet(ways=3, filters=5, layers=3, image_size=14)
    parameters = {name: value.double() for name, value in network.initial(generator).items()}
    for name in parameters:
        if name.startswith("norm"):
            parameters[name] = torch.randn(5, generator=generator, dtype=torch.float64)
    x = torch.randn(num_tasks, 9, 1, 14, 14, generator=generator, dtype=torch.float64)
    y = torch.arange(3).repeat(num_tasks, 3)
    return network, parameters, TaskBatch(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:])
