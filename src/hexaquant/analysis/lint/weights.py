"""The weights of a network as rules look at them: by layer, with the axis of its output channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.htp import kernels
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant


@dataclass(frozen=True)
class Weight:
    """``rows``: float64 of shape (output channels, everything else)."""

    node: oir.Node
    name: str
    data: np.ndarray
    rows: np.ndarray

    @property
    def peaks(self) -> np.ndarray:
        """max |w| of each output channel."""
        return np.abs(self.rows).max(axis=1)


def weights_of(graph: Graph) -> Iterator[Weight]:
    """Every constant weight of a convolution or linear layer, in order."""
    for node in graph.nodes:
        index = kernels.WEIGHT_INPUTS.get(node.op_type)
        value = node.inputs[index] if index is not None and node.domain == "" and len(node.inputs) > index else None
        data = constant(value)
        if value is None or data is None or data.ndim < 2 or data.dtype.kind != "f":
            continue
        yield Weight(node, value.name or "", data, rows_of(node, np.asarray(data, np.float64)))


def rows_of(node: oir.Node, data: np.ndarray) -> np.ndarray:
    """``data``, shaped like the weight of ``node``, as (output channels, everything else)."""
    if node.op_type == "ConvTranspose":
        groups = int_attribute(node, "group", 1)
        split = data.reshape(groups, data.shape[0] // groups, *data.shape[1:])
        return np.moveaxis(split, 2, 1).reshape(groups * data.shape[1], -1)
    if node.op_type == "Gemm":
        return data if int_attribute(node, "transB", 0) else data.T
    rows = np.moveaxis(data, -1, 0) if node.op_type == "MatMul" else data
    return rows.reshape(rows.shape[0], -1)


def outlier_ratio(sizes: np.ndarray) -> tuple[float, int]:
    """The largest of ``sizes`` over their 90th percentile (of fewer than 16: over the median), and its index."""
    alive = sizes[sizes > 0]
    if alive.size < 4:
        return 1.0, int(sizes.argmax()) if sizes.size else 0
    usual = float(np.quantile(alive, 0.9 if alive.size >= 16 else 0.5))
    return float(sizes.max()) / usual, int(sizes.argmax())
