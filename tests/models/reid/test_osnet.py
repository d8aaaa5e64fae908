import pytest
import torch

from models.reid.osnet import DIMENSION, GeneralisedMean, OmniScaleBlock, OmniScaleNetwork, normalise
from models.reid.trunk import TRUNK_CHANNELS, Trunk, fused_head

MAX_PARAMETERS = 1_000_000


@pytest.fixture(scope="module")
def network():
    """Random weights, and norms that have seen something."""
    torch.manual_seed(0)
    network = OmniScaleNetwork()
    with torch.no_grad():
        network.pooled(torch.rand(8, 3, 64, 32) * 255)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(128, 64), (96, 48), (32, 16)])
def test_crops_of_any_multiple_of_the_stride_become_rows_of_unit_length(network, size):
    rows = network(torch.rand(3, 3, *size) * 255)
    assert rows.shape == (3, DIMENSION)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_the_network_has_less_than_a_million_parameters(network):
    assert sum(parameter.numel() for parameter in network.parameters()) < MAX_PARAMETERS


@torch.no_grad()
def test_folding_the_norms_of_the_first_layers_changes_no_number(network):
    images = torch.rand(2, 3, 64, 32) * 255
    folded = fused_head(network.trunk, 5)(normalise(images))
    torch.testing.assert_close(network.pooled_from(folded, 5), network.pooled(images))


def test_the_trunk_sees_a_sixteenth_of_the_rows_and_columns():
    assert Trunk()(torch.zeros(1, 3, 64, 32)).shape == (1, TRUNK_CHANNELS, 4, 2)


def test_the_streams_of_a_block_see_three_to_nine_cells():
    block = OmniScaleBlock(8, 64).eval()
    seen = []
    for stream in block.streams:
        cells = torch.zeros(1, 16, 21, 21, requires_grad=True)
        stream(cells + 1)[0, :, 10, 10].abs().sum().backward()
        seen.append(int((cells.grad.abs().sum(dim=(0, 1)) > 0).any(dim=0).sum()))
    assert seen == [3, 5, 7, 9]


def test_one_gate_is_shared_by_all_streams():
    names = [name for name, _ in OmniScaleBlock(8, 64).named_parameters() if "gate" in name]
    assert names == ["gate.narrow.weight", "gate.narrow.bias", "gate.widen.weight", "gate.widen.bias"]


@torch.no_grad()
def test_the_generalised_mean_lies_between_mean_and_maximum_and_follows_its_power():
    pool = GeneralisedMean()
    features = torch.rand(2, 4, 5, 5)
    pooled = pool(features)
    assert (pooled > features.mean(dim=(2, 3))).all()
    assert (pooled < features.amax(dim=(2, 3))).all()
    pool.power.fill_(1.0)
    torch.testing.assert_close(pool(features), features.mean(dim=(2, 3)))
