"""Layers with a weight matrix as linear maps: y = W x over columns x, whatever the operator is.

A layer of g groups is g matrices W (O, K), applied to columns X (K, n): a convolution's patches (im2col), a fully
connected layer's rows. ``matrix`` and ``tensor`` go between the weight as it is stored and (g, O, K); ``columns`` and
``outputs`` give (g, K, n) and (g, O, n) of the layer's input and output at chosen positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from hexaquant.ir.executor.ops import window
from hexaquant.sim.from_file import FROM_FILE
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import BiasQuantizer, ConstantQuantizer


@dataclass(frozen=True)
class Layer:
    """One Conv, ConvTranspose, Gemm or MatMul with a quantized weight, which as a rule no other operator shares.

    ``x``, ``y``: fx nodes of its input and output; ``bias``: its int32 bias when it has one of its own.
    ``attributes``: those of the ONNX operator; ``shape``: of the weight.
    """

    name: str
    op_type: str
    weight: str
    bias: str | None
    x: fx.Node
    y: fx.Node
    shape: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        return int(self.attributes.get("group", 1))

    @property
    def outputs_in_group(self) -> int:
        """Rows O of each group's matrix."""
        if self.op_type == "ConvTranspose":
            return self.shape[1]
        if self.op_type == "Conv":
            return self.shape[0] // self.groups
        return self.shape[0] if self.attributes.get("transB") else self.shape[1]

    @property
    def input_key(self) -> tuple[Any, ...]:
        """Equal for layers that see the same columns."""
        if not self.is_conv:
            return (self.x, "rows")
        geometry = {k: v for k, v in self.attributes.items() if k != "kernel_shape"}
        return (self.x, self.op_type, self.shape[2:], repr(sorted(geometry.items())))

    @property
    def is_conv(self) -> bool:
        return self.op_type in ("Conv", "ConvTranspose")

    def matrix(self, w: Tensor) -> Tensor:
        """(g, O, K) view or copy of the weight ``w`` in its stored shape."""
        g = self.groups
        if self.op_type == "Conv":
            return w.reshape(g, w.shape[0] // g, -1)
        if self.op_type == "ConvTranspose":
            flipped = w.flip(tuple(range(2, w.dim())))
            split = flipped.reshape(g, w.shape[0] // g, w.shape[1], *w.shape[2:])
            return split.transpose(1, 2).reshape(g, w.shape[1], -1)
        return w[None] if self.attributes.get("transB") else w.t()[None]

    def tensor(self, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`matrix`, contiguous."""
        if self.op_type == "Conv":
            return matrix.reshape(self.shape).contiguous()
        if self.op_type == "ConvTranspose":
            g = self.groups
            rows = self.shape[1]
            split = matrix.reshape(g, rows, self.shape[0] // g, *self.shape[2:]).transpose(1, 2)
            return split.reshape(self.shape).flip(tuple(range(2, len(self.shape)))).contiguous()
        return (matrix[0] if self.attributes.get("transB") else matrix[0].t()).contiguous()

    def positions(self, y: Tensor) -> int:
        """Number of columns that one sample of the output ``y`` has (all of them for one matrix of rows)."""
        return y[0, 0].numel() if self.is_conv else y[0].numel() // y.shape[-1]

    def columns(self, x: Tensor, y: Tensor, positions: Tensor) -> Tensor:
        """(g, K, n): the columns of ``x`` behind the outputs at ``positions`` (P,) of each sample, n = N * P."""
        if not self.is_conv:
            return x.reshape(x.shape[0], -1, x.shape[-1])[:, positions].reshape(1, -1, x.shape[-1]).transpose(1, 2)
        padded, win = self._padded(x)
        at = _patch_indices(padded.shape[2:], tuple(y.shape[2:]), win, positions)
        patches = padded.flatten(2)[:, :, at.reshape(-1)]
        n, c = patches.shape[:2]
        split = patches.reshape(n, self.groups, c // self.groups * at.shape[0], positions.numel())
        return split.permute(1, 2, 0, 3).reshape(self.groups, split.shape[2], -1)

    def outputs(self, y: Tensor, positions: Tensor) -> Tensor:
        """(g, O, n): the outputs ``y`` at ``positions`` of each sample."""
        if not self.is_conv:
            return y.reshape(y.shape[0], -1, y.shape[-1])[:, positions].reshape(1, -1, y.shape[-1]).transpose(1, 2)
        picked = y.flatten(2)[:, :, positions]
        return picked.reshape(y.shape[0], self.groups, -1, positions.numel()).permute(1, 2, 0, 3).flatten(2)

    def _padded(self, x: Tensor) -> tuple[Tensor, window.Window]:
        """The input with its padding (and the zeros between inputs of a transposed convolution) written out."""
        a = self.attributes
        win = window.resolve(
            x.shape[2:],
            self.shape[2:],
            a.get("strides"),
            a.get("dilations"),
            a.get("pads"),
            a.get("auto_pad", "NOTSET"),
        )
        if self.op_type == "Conv":
            return F.pad(x, win.flat_pads()) if any(win.before + win.after) else x.contiguous(), win
        extra = tuple(a.get("output_padding") or (0,) * len(win.kernel))
        before = tuple(e - 1 - p for e, p in zip(win.extent, win.before))
        after = tuple(e - 1 - p + o for e, p, o in zip(win.extent, win.after, extra))
        sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], win.stride)]
        spread = x.new_zeros(*x.shape[:2], *sizes)
        every: tuple[Any, ...] = (..., *(slice(None, None, s) for s in win.stride))
        spread[every] = x
        ones = (1,) * len(win.kernel)
        dense = window.Window(win.kernel, ones, win.dilation, before, after)
        return F.pad(spread, dense.flat_pads()).contiguous(), dense


def _patch_indices(
    size: torch.Size | tuple[int, ...], out: tuple[int, ...], win: window.Window, positions: Tensor
) -> Tensor:
    """(kernel elements, P): flat indices into a padded plane of ``size`` of each patch at ``positions`` of ``out``."""
    strides = [1] * len(size)
    for axis in range(len(size) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * size[axis + 1]
    corner = sum(
        (i * s * step for i, s, step in zip(torch.unravel_index(positions, out), win.stride, strides, strict=True)),
        torch.zeros_like(positions),
    )
    inside = torch.zeros(1, dtype=torch.long)
    for k, d, step in zip(win.kernel, win.dilation, strides, strict=True):
        inside = (inside[:, None] + torch.arange(k)[None] * d * step).reshape(-1)
    return inside[:, None] + corner[None]


def find_layers(model: QuantizedModel, shared: bool = False) -> list[Layer]:
    """The layers of ``model`` in order of execution that rounding can treat; ``shared``: with those whose weight
    another operator reads as well."""
    calls = {n.meta["node"]: n for n in model.network.graph.nodes if n.op == "call_function" and "node" in n.meta}
    found = []
    uses = _uses(model)
    parameters = model.parameters_by_name()
    for node in model.source_graph.nodes:
        call = calls.get(node.name)
        if call is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        weight = node.inputs[1].name or "" if node.inputs[1] is not None else ""
        quantizer = model.quantizers.get(weight)
        if not isinstance(quantizer, ConstantQuantizer) or quantizer.plan.role != "weight":
            continue
        if uses[weight] > 1 and not shared:
            continue
        if quantizer.plan.observer == FROM_FILE:
            continue  # on its grid since the file was made
        shape = tuple(parameters[weight].shape)
        attributes = dict(call.kwargs)
        if not _is_plain(node.op_type, attributes, shape) or not isinstance(call.args[0], fx.Node):
            continue
        bias = node.inputs[2].name if len(node.inputs) > 2 and node.inputs[2] is not None else None
        own = bias is not None and uses[bias] == 1 and isinstance(model.quantizers.get(bias), BiasQuantizer)
        name = quantizer.plan.layer
        found.append(Layer(name, node.op_type, weight, bias if own else None, call.args[0], call, shape, attributes))
    return found


def _uses(model: QuantizedModel) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in model.source_graph.nodes:
        for value in node.inputs:
            if value is not None and value.name:
                uses[value.name] = uses.get(value.name, 0) + 1
    return uses


def _is_plain(op_type: str, attributes: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """False for forms whose output is not W x + b over columns."""
    if op_type == "MatMul":
        return len(shape) == 2
    if op_type == "Gemm":
        return (
            attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA")
        )
    if op_type == "ConvTranspose":
        return not attributes.get("output_shape") and attributes.get("auto_pad", "NOTSET") == "NOTSET"
    return True
