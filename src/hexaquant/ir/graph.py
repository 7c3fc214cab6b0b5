"""Graph: a thin layer over ``onnx_ir.Model`` that every part of the package shares.

Invariants after ``ir.normalize`` (see ir/normalize.py):

1. opset 21 of the default domain, operators of ``com.microsoft`` only where the executor knows them;
2. values and nodes have unique names; names of inputs, outputs and float parameters are the user's;
3. constants are initializers (no Constant nodes), shape arithmetic is folded, nodes are sorted;
4. every value has a dtype and, where inference can tell, a shape; the batch may stay symbolic.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as oir

from hexaquant.core import html
from hexaquant.core.errors import InputError

ORIGIN_MODULE = "hexaquant.module"
ORIGIN_SOURCE = "hexaquant.source"
"""Keys of ``node.metadata_props`` under which frontends record a layer's module path and source line."""
NOTE = "hexaquant.note"
"""Key of ``Graph.model.metadata_props`` under which a frontend notes what it had to decide (a fixed batch)."""
CONVERT = "hexaquant.convert"
"""Key that marks an Identity as a change of type on the target (see sim/converts.py); such a node is never removed."""


@dataclass(frozen=True)
class Origin:
    """Where a node comes from in the user's words. ``module``: "blocks.3.conv2"; ``source``: "model.py:41"."""

    module: str = ""
    source: str = ""
    node: str = ""

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"layer '{self.module or self.node}'{where}"


class Graph:
    """An ONNX graph with access by name. Mutable through ``model``; passes change it in place."""

    def __init__(self, model: oir.Model, source: str = "") -> None:
        self.model = model
        self.source = source or (model.graph.name or "model")

    @property
    def nodes(self) -> list[oir.Node]:
        """All nodes in topological order."""
        return list(self.model.graph)

    @property
    def inputs(self) -> list[oir.Value]:
        return [v for v in self.model.graph.inputs if v.name not in self.model.graph.initializers]

    @property
    def outputs(self) -> list[oir.Value]:
        return list(self.model.graph.outputs)

    @property
    def initializers(self) -> dict[str, oir.Value]:
        return dict(self.model.graph.initializers)

    def values(self) -> Iterator[oir.Value]:
        """Inputs, then initializers, then node outputs in topological order."""
        yield from self.inputs
        yield from self.model.graph.initializers.values()
        for node in self.model.graph:
            yield from (v for v in node.outputs if v.name)

    def value(self, name: str) -> oir.Value:
        """The value called ``name``. Raises InputError naming close matches when there is none."""
        for value in self.values():
            if value.name == name:
                return value
        close = difflib.get_close_matches(name, [v.name or "" for v in self.values()], 3)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise InputError(f"{self.source} has no tensor '{name}'{hint}")

    def origin(self, node: oir.Node) -> Origin:
        """Where ``node`` comes from, for messages."""
        props = node.metadata_props
        return Origin(props.get(ORIGIN_MODULE, ""), props.get(ORIGIN_SOURCE, ""), node.name or node.op_type)

    def _repr_html_(self) -> str:
        """For notebooks: inputs, outputs and the operators in order."""
        ports = [("input", v) for v in self.inputs] + [("output", v) for v in self.outputs]
        rows = [(kind, v.name, "x".join(map(str, shape_of(v) or ())), v.dtype) for kind, v in ports]
        layers = [
            (node.op_type, self.origin(node), node.outputs[0].name if node.outputs else "") for node in self.nodes
        ]
        head = html.heading(f"{self.source}: {len(layers)} operators, {len(self.initializers)} constants")
        return (
            head + html.table(["", "name", "shape", "type"], rows) + html.table(["operator", "layer", "output"], layers)
        )

    def clone(self) -> Graph:
        """An independent copy; constant data is shared, never written in place."""
        return Graph(copy.copy(self.model.clone()), self.source)

    def save(self, path: Path) -> None:
        """Write the ONNX file atomically (external data for graphs over 1.5 GB)."""
        from hexaquant.ir.save import save_model

        save_model(self.model, path)


def constant(value: oir.Value | None) -> np.ndarray | None:
    """The data of a constant value (an initializer), or None when ``value`` is absent or computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def shape_of(value: oir.Value) -> tuple[int | str | None, ...] | None:
    """Shape with ints, symbol names or None for unknown dims; None when the rank is unknown."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


FLOAT_TYPES = (oir.DataType.FLOAT, oir.DataType.FLOAT16, oir.DataType.DOUBLE, oir.DataType.BFLOAT16)


def is_float_value(value: oir.Value) -> bool:
    """True for tensors of floating type; unknown types count as float (they come from float operators)."""
    return value.dtype is None or value.dtype in FLOAT_TYPES
