import pytest
import torch

from models.meta.inner import RATE, InnerLoop, cross_entropy
from models.meta.networks import forward, over_tasks
from tests.benchmarks import meta_peers
from tests.models.meta import slow

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


def _gradients(network, loop, parameters, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    cross_entropy(loop.query_scores(network, leaves, batch), batch.query_y).sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


def _leaves(parameters):
    return {name: value.clone().requires_grad_() for name, value in parameters.items()}


def test_the_network_scores_as_one_task_at_a_time():
    network, parameters, batch = slow.small_problem()
    scores = forward(network, over_tasks(parameters, len(batch)), network.prepare(batch.support_x))
    expected = torch.stack([slow.conv_net(parameters, x) for x in batch.support_x])
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("order", [1, 2])
def test_maml_differentiates_as_a_loop_over_tasks_does(order):
    network, parameters, batch = slow.small_problem()
    leaves = _leaves(parameters)
    expected = slow.meta_gradient(leaves, dict.fromkeys(leaves, 0.3), batch, 3, order)
    ours = _gradients(network, InnerLoop(steps=3, rate=0.3, order=order), parameters, batch)
    torch.testing.assert_close(ours, expected, **TOLERANCE)


def test_anil_differentiates_as_a_loop_over_tasks_does():
    network, parameters, batch = slow.small_problem()
    rates = {"head.bias": 0.3, "head.weight": 0.3}
    expected = slow.meta_gradient(_leaves(parameters), rates, batch, 3, 2)
    ours = _gradients(network, InnerLoop(steps=3, rate=0.3, adapts="head"), parameters, batch)
    torch.testing.assert_close(ours, expected, **TOLERANCE)


def test_meta_sgd_differentiates_rates_too():
    network, parameters, batch = slow.small_problem()
    generator = torch.Generator().manual_seed(1)
    rates = {
        name: torch.rand(value.shape, generator=generator).double().requires_grad_()
        for name, value in parameters.items()
    }
    expected = slow.meta_gradient(_leaves(parameters), rates, batch, 2, 2)
    learned = parameters | {RATE + name: rate.detach() for name, rate in rates.items()}
    ours = _gradients(network, InnerLoop(steps=2, rates="learned"), learned, batch)
    torch.testing.assert_close(ours, expected, **TOLERANCE)


def test_maml_differentiates_as_learn2learn_does():
    network, parameters, batch = slow.small_problem()
    module = meta_peers.peer_network(network, parameters)
    try:
        maml = meta_peers.peer_maml(module, 0.3)
    except ModuleNotFoundError:
        pytest.skip(meta_peers.MISSING)
    meta_peers.differentiate(maml, batch, 3)
    ours = _gradients(network, InnerLoop(steps=3, rate=0.3), parameters, batch)
    torch.testing.assert_close(ours, meta_peers.peer_gradients(network, module), **TOLERANCE)


def test_anil_differentiates_as_learn2learn_does():
    network, parameters, batch = slow.small_problem()
    module = meta_peers.peer_network(network, parameters)
    try:
        maml = meta_peers.peer_maml(module[1], 0.3)
    except ModuleNotFoundError:
        pytest.skip(meta_peers.MISSING)
    meta_peers.differentiate_head(module[0], maml, batch, 3)
    ours = _gradients(network, InnerLoop(steps=3, rate=0.3, adapts="head"), parameters, batch)
    torch.testing.assert_close(ours, meta_peers.peer_gradients(network, module), **TOLERANCE)
