"""Writes and reads the weights as they are shipped: safetensors in half precision, checked against the network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError

from models.errors import WeightsCorrupt
from models.files import read_weights
from models.reid.osnet import OmniScaleNetwork

SHIPPED: Final = Path(__file__).with_name("osnet.safetensors")
MAX_BYTES: Final = 64 << 20
"""Far above any network of this kind; a larger file is not read into memory."""


def pack(network: OmniScaleNetwork) -> bytes:
    """Return a network's state in half precision; batch counters are left out."""
    state = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    return safetensors.torch.save(state)


def load(path: Path) -> tuple[OmniScaleNetwork, str]:
    """Read a network in single precision, ready to run; returns it and the SHA-256 of its file.

    Raises:
        WeightsUnavailable: when the file cannot be read.
        WeightsCorrupt: when it is no such file, a tensor is missing, too many, of another shape, or not finite.
    """
    content = read_weights(
        path, MAX_BYTES, expected="weights of a small network", remedy="check the path of the weights"
    )
    try:
        state = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsCorrupt(f"{path} is no safetensors file: {error}; train or install it anew") from error
    network = OmniScaleNetwork()
    own = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    _compare(state, own, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
    return network.eval(), hashlib.sha256(content).hexdigest()


def _compare(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], path: Path) -> None:
    remedy = "give weights that `camweave train embedder` of this version wrote"
    if wrong := sorted(state.keys() ^ own.keys()):
        raise WeightsCorrupt(f"{path} holds other tensors than this network: {wrong[:3]} differ; {remedy}")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise WeightsCorrupt(
                f"{name} in {path} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}; {remedy}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsCorrupt(f"{name} in {path} holds a number that is not finite; {remedy}")
