"""Turns an exported convolutional network into one that computes in 8 bits, by ranges measured beforehand.

Activations become unsigned 8-bit numbers with a scale and a zero point a tensor, weights signed ones with a scale an
output channel, and sums stay 32 bits wide: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018 (arXiv 1712.05877). The graph says so by pairs of QuantizeLinear and
DequantizeLinear, which ONNX Runtime fuses into integer kernels.

Ranges are keyed by the order of the convolutions in our own module, and a convolution of the graph is recognised by its
weights, so that nothing depends on the names that an exporter gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.errors import ModelError
from models.ranges import ActivationRanges, ConvolutionRanges, Range

QUANTIZER: Final = 2
"""Raise it whenever `quantize` makes another graph from the same input: results and cached files are named by it."""

LEVELS: Final = 255
WEIGHT_LIMIT: Final = 127
PASSED_ON: Final = ("LeakyRelu", "MaxPool", "Concat")
"""Operators with an 8-bit kernel whose output range follows from those of their inputs."""


def quantize(
    model: bytes,
    weights: Sequence[NDArray[np.float32]],
    ranges: ActivationRanges,
    *,
    keep: Collection[int] = (),
) -> bytes:
    """Return the ONNX model with its convolutions, and what merely passes their results on, in 8 bits.

    `weights` are those of the module's convolutions in the order of definition, O x I x H x W; the convolutions
    whose indices are in `keep` stay in single precision.

    Raises:
        ModelError: when the table or the graph does not fit the weights.
    """
    _check_fit([tuple(weight.shape) for weight in weights], [row.shape for row in ranges.convolutions])
    proto = onnx.load_from_string(model)
    rows = {
        node: ranges.convolutions[index]
        for node, index in _match(proto, weights).items()
        if index not in keep
    }
    _Rewriter(proto, rows).rewrite()
    return bytes(proto.SerializeToString())


def _check_fit(network: Sequence[tuple[int, ...]], table: Sequence[tuple[int, ...]]) -> None:
    if len(table) != len(network):
        raise ModelError(
            f"the table of activation ranges has {len(table)} convolutions, the network {len(network)}; "
            "make it anew with scripts/calibrate.py"
        )
    for index, (got, expected) in enumerate(zip(table, network, strict=True)):
        if got != expected:
            raise ModelError(
                f"the table of activation ranges gives convolution {index} weights of shape {got}, the network "
                f"has {expected}; make it anew with scripts/calibrate.py"
            )


def _match(proto: ModelProto, weights: Sequence[NDArray[np.float32]]) -> dict[str, int]:
    """Return, by the name of each Conv node's output, the index of the convolution whose weights it has."""
    index_of = {_fingerprint(weight): index for index, weight in enumerate(weights)}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[1] in constants:
            weight = numpy_helper.to_array(constants[node.input[1]])
            if (index := index_of.get(_fingerprint(weight))) is not None:
                found[node.output[0]] = index
    if sorted(found.values()) != list(range(len(weights))):
        raise ModelError(
            f"the exported graph has {len(found)} convolutions with this network's weights, expected each of "
            f"{len(weights)} once; set precision to float32"
        )
    return found


def _fingerprint(weight: NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return weight.shape, hashlib.sha256(np.ascontiguousarray(weight).tobytes()).digest()


class _Pixels(NamedTuple):
    """Names 8-bit pixels, I channels, and how they are normalised."""

    name: str
    mean_I: NDArray[np.float64]
    std_I: NDArray[np.float64]


class _Rewriter:
    """Puts pairs of QuantizeLinear and DequantizeLinear into one graph, in a pass from its inputs to its outputs."""

    def __init__(self, proto: ModelProto, rows: Mapping[str, ConvolutionRanges]) -> None:
        self._graph = proto.graph
        self._rows = rows
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._producers = {name: node for node in proto.graph.node for name in node.output}
        self._bytes = {i.name for i in proto.graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
        self._ranges: dict[str, Range] = {}  # of what an 8-bit operator made
        self._coarse: dict[str, str] = {}  # by tensor, the name of what comes out of its pair
        self._nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        """Replace the graph's nodes, and the constants that are no longer used."""
        for node in list(self._graph.node):
            row = self._rows.get(node.output[0]) if node.op_type == "Conv" else None
            passed = [self._ranges.get(name) for name in node.input] if node.op_type in PASSED_ON else [None]
            if row is not None:
                self._convolution(node, row)
                self._made(node, row.output)
            elif all(passed):
                self._rename(node, self._ranges)
                self._made(node, _passed_on(node, [known for known in passed if known is not None]))
            else:
                self._rename(node, self._ranges)
                self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(t for t in self._constants.values() if t.name in used)

    def _convolution(self, node: NodeProto, row: ConvolutionRanges) -> None:
        """Give one convolution an 8-bit input, 8-bit weights and a 32-bit bias at the scale of their products."""
        source = node.input[0]
        weight = numpy_helper.to_array(self._constants[node.input[1]])
        bias_O = numpy_helper.to_array(self._constants[node.input[2]]).astype(np.float64)
        if (pixels := self._pixels(source)) is not None:
            weight = weight / pixels.std_I[:, None, None]
            zero = round(float(pixels.mean_I.mean()))
            bias_O = bias_O + (weight.sum(axis=(2, 3)) * (zero - pixels.mean_I)).sum(axis=1)
            scale_in = 1.0
            node.input[0] = self._dequantized(pixels.name, f"{source}.coarse", scale_in, zero)
        else:
            scale_in, _ = _scale_and_zero(self._ranges.get(source, row.input))
            if source not in self._coarse:
                self._pair(source, row.input)
            node.input[0] = self._coarse[source]
        largest_O = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 1e-12)
        scale_O = (largest_O / WEIGHT_LIMIT).astype(np.float32)
        steps = np.rint(weight / scale_O[:, None, None, None]).clip(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias_scale_O = (scale_O * scale_in).astype(np.float32)
        limit = np.iinfo(np.int32).max
        bias_steps = np.rint(bias_O / bias_scale_O).clip(-limit, limit)
        node.input[1] = self._constant(node.input[1], steps.astype(np.int8), scale_O)
        node.input[2] = self._constant(node.input[2], bias_steps.astype(np.int32), bias_scale_O)

    def _pixels(self, name: str) -> _Pixels | None:
        """Recognise (pixels - mean) / std: 8-bit pixels can go in as they are, and the rest into the weights.

        The convolution's padding is then one grey instead of the mean of each channel; nothing else changes.
        """
        chain = []
        for operator in ("Div", "Sub", "Cast", "Transpose"):
            node = self._producers.get(name)
            if node is None or node.op_type != operator:
                return None
            chain.append(node)
            name = node.input[0]
        divide, subtract, cast, _ = chain
        if name not in self._bytes or not {divide.input[1], subtract.input[1]} <= self._constants.keys():
            return None
        mean_I, std_I = (
            numpy_helper.to_array(self._constants[node.input[1]]).astype(np.float64).ravel()
            for node in (subtract, divide)
        )
        return _Pixels(cast.input[0], mean_I, std_I)

    def _made(self, node: NodeProto, known: Range) -> None:
        self._nodes.append(node)
        self._ranges[node.output[0]] = known
        self._pair(node.output[0], known)

    def _pair(self, name: str, known: Range) -> None:
        scale, zero = _scale_and_zero(known)
        steps = f"{name}.steps"
        coarse = self._coarse[name] = f"{name}.coarse"
        parameters = [f"{coarse}.scale", f"{coarse}.zero"]
        self._nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [steps]))
        self._dequantized(steps, coarse, scale, zero)

    def _dequantized(self, steps: str, coarse: str, scale: float, zero: int) -> str:
        parameters = [
            self._add(f"{coarse}.scale", np.float32(scale)),
            self._add(f"{coarse}.zero", np.uint8(zero)),
        ]
        self._nodes.append(helper.make_node("DequantizeLinear", [steps, *parameters], [coarse]))
        return coarse

    def _constant(self, name: str, steps: NDArray[np.integer], scale_O: NDArray[np.float32]) -> str:
        inputs = [
            self._add(f"{name}.steps", steps),
            self._add(f"{name}.scale", scale_O),
            self._add(f"{name}.zero", np.zeros(len(scale_O), steps.dtype)),
        ]
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.coarse"], axis=0))
        return f"{name}.coarse"

    def _rename(self, node: NodeProto, made: Mapping[str, Range]) -> None:
        """Let a node read what an 8-bit operator made in its coarse form, as the operator itself then vanishes."""
        for place, name in enumerate(node.input):
            if name in made:
                node.input[place] = self._coarse[name]

    def _add(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def _passed_on(node: NodeProto, inputs: Sequence[Range]) -> Range:
    low, high = min(known.low for known in inputs), max(known.high for known in inputs)
    if node.op_type == "LeakyRelu":
        low *= next((attribute.f for attribute in node.attribute if attribute.name == "alpha"), 0.01)
    return Range(low, high)


def _scale_and_zero(known: Range) -> tuple[float, int]:
    """Return the width of one of 255 steps, and the step that stands for exactly 0."""
    scale = float(np.float32((known.high - known.low) / LEVELS))
    return scale, round(-known.low / scale)
