"""Which channels of a network can be rescaled without changing its function, and the constants that absorb it.

Every computed tensor gets labels (transforms/channel_ids.py); label v has a scale s_v > 0, and the tensor's channels
with that label become x / s_v. An operator is one of:

1. a layer with constant weight (Conv, ConvTranspose, Gemm, MatMul, a normalization's gamma and beta, Mul by a
   constant, an embedding table): its outputs get labels of their own; weight w_oi becomes w_oi s_i / s_o, bias b_o
   becomes b_o / s_o;
2. positively homogeneous, one channel at a time (Relu, LeakyRelu, PRelu, pooling, padding with zeros, Resize,
   reductions) or data movement: the output has the input's labels, at their new place;
3. Add, Sub, Sum, Max, Min: the operands' labels are joined (a residual stream has one vector of scales); a constant
   operand is divided by it;
4. Mul, Div, MatMul of two computed tensors: one operand is pinned, the other one's labels go through;
5. Clip(0, c) (ReLU6): see ``clip_maxima``; anything else pins its operands and gives an output that is pinned.

Graph inputs and outputs are pinned, and so is everything that touches a constant that several operators read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import set_constant
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.transforms.channel_ids import Ids, Labels, unlabelled

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Operand:
    """A constant that absorbs scales: multiplied by s of ``inputs``, divided by s of ``outputs`` (labels that
    broadcast to its shape; None: nothing on that side). ``role`` "weight" has a range that matters, "bias" follows.
    """

    node: oir.Node
    value: oir.Value
    inputs: Ids | None
    outputs: Ids | None
    role: str = "weight"


@dataclass
class Scaling:
    """The result of the walk. ``labels``: value name -> labels; ``lower``: smallest scales that keep a Clip unreached;
    ``reasons``: node -> why it holds its channels fast."""

    operands: list[Operand] = field(default_factory=list)
    labels: dict[str, Ids] = field(default_factory=dict)
    lower: Array = field(default_factory=lambda: np.zeros(1))
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of labels, PINNED among them; scales are vectors of this size."""
        return len(self.lower)

    def apply(self, scales: Array) -> None:
        """Rewrite the constants; ``scales[PINNED]`` must be 1. Sums in float64, stored in the constant's type."""
        for operand in self.operands:
            factor = np.ones(())
            if operand.inputs is not None:
                factor = factor * scales[operand.inputs]
            if operand.outputs is not None:
                factor = factor / scales[operand.outputs]
            if bool((factor != 1).any()):
                data = operand.value.const_value.numpy()  # type: ignore[union-attr]
                set_constant(operand.value, (data * factor).astype(data.dtype))


class Walk:
    """State of one walk, for the rules of transforms/channel_rules.py."""

    def __init__(self, graph: Graph, clip_maxima: Mapping[str, Array], residuals: bool) -> None:
        self.graph = graph
        self.clip_maxima = clip_maxima
        self.residuals = residuals
        self.all = Labels()
        self.scaling = Scaling()
        self.bounds: list[tuple[Ids, Array]] = []

    def ids(self, value: oir.Value | None) -> Ids:
        """The labels of ``value``; pinned ones for graph inputs, constants and integers."""
        if value is None or (value.name or "") not in self.scaling.labels:
            return unlabelled(0 if value is None or value.shape is None else len(value.shape))
        return self.scaling.labels[value.name or ""]

    def give(self, value: oir.Value, ids: Ids) -> None:
        """Label ``value``. A graph output is pinned; labels that do not fit its rank are pinned too."""
        shape = shape_of(value)
        if value.is_graph_output() or shape is None or ids.ndim != len(shape):
            self.hold(ids)
            ids = unlabelled(0 if shape is None else len(shape))
        self.scaling.labels[value.name or ""] = ids

    def hold(self, ids: Ids) -> None:
        """Pin ``ids``."""
        self.all.union(ids, np.zeros((), np.int64))

    def pin(self, node: oir.Node, reason: str) -> None:
        """Pin all operands of ``node`` and its outputs, and note why when that takes a freedom away."""
        operands = [self.ids(v) for v in node.inputs if v is not None]
        if any(self.all.free(ids) for ids in operands):
            self.scaling.reasons.setdefault(str(self.graph.origin(node)), reason)
        for ids in operands:
            self.hold(ids)
        for value in node.outputs:
            self.scaling.labels[value.name or ""] = unlabelled(0 if value.shape is None else len(value.shape))

    def finish(self) -> Scaling:
        """Replace labels by consecutive numbers of their classes, PINNED first."""
        roots = self.all.roots()
        classes, number = np.unique(roots, return_inverse=True)
        scaling = self.scaling
        scaling.labels = {name: number[ids] for name, ids in scaling.labels.items()}
        scaling.operands = [
            Operand(o.node, o.value, _renamed(o.inputs, number), _renamed(o.outputs, number), o.role)
            for o in scaling.operands
        ]
        scaling.lower = np.zeros(len(classes))
        for ids, lower in self.bounds:
            np.maximum.at(scaling.lower, number[ids], lower)
        return scaling


def _renamed(ids: Ids | None, number: Ids) -> Ids | None:
    return None if ids is None else number[ids]
