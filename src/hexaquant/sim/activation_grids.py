"""The grid of each activation before converts are placed: what overrides or the scheme say, if the target can."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as oir

from hexaquant.core.grid import FLOAT16, Grid, PerTensor
from hexaquant.htp import kernels
from hexaquant.htp.scheme import Scheme
from hexaquant.ir.graph import CONVERT, Graph
from hexaquant.sim.converts import convert_grid
from hexaquant.sim.einsum_products import second_operands
from hexaquant.sim.overrides import Overrides, Setting


class ActivationPlanner:
    """Which grid the outputs of a node get, before converts are placed."""

    def __init__(self, graph: Graph, scheme: Scheme, overrides: Overrides) -> None:
        self.graph, self.scheme, self.overrides = graph, scheme, overrides
        self.symmetric = second_operands(graph)

    def setting(self, value: oir.Value) -> Setting | None:
        """The override for a computed value: by its name, its node's name or its module path."""
        node = value.producer()
        if node is None:
            return self.overrides.find(value.name or "")
        return self.overrides.find(value.name or "", node.name or "", self.graph.origin(node).module)

    def wanted(self, value: oir.Value) -> Grid:
        """What the override or the scheme says, whether the target can or not."""
        return _activation_grid(self.scheme, self.setting(value))

    def grid(self, value: oir.Value) -> Grid:
        """The activation grid of ``value``: of its convert node, its override, or the scheme."""
        node = value.producer()
        converted = convert_grid(node)
        if converted is not None:
            return converted
        grid = self.wanted(value)
        if node is not None:
            grid = _executable_grid(node.op_type, grid)
        return replace(grid, symmetric=True) if grid.bits == 16 and value.name in self.symmetric else grid

    def grid_of_node(self, node: oir.Node) -> Grid:
        """The activation type in which ``node`` computes: that of its first output (data movers: of their input)."""
        rule = kernels.rule_of(node.op_type)
        moves = rule is not None and rule.role == "move" and CONVERT not in node.metadata_props
        if moves and node.inputs[0] is not None:
            producer = node.inputs[0].producer()
            return self.grid(node.inputs[0]) if producer is None else self.grid_of_node(producer)
        return self.grid(node.outputs[0])

    def input_grid(self, value: oir.Value) -> Grid:
        """The grid in which ``value`` arrives at its readers."""
        producer = value.producer()
        return self.grid(value) if producer is None else self.grid_of_node(producer)


def _activation_grid(scheme: Scheme, setting: Setting | None) -> Grid:
    if setting is not None and setting.is_float:
        return FLOAT16
    chosen = setting.scheme if setting is not None and setting.scheme is not None else scheme
    if chosen.is_float and (setting is None or setting.bits is None):
        return FLOAT16
    bits, symmetric = chosen.act_bits, chosen.symmetric_activations
    if setting is not None:
        bits = setting.bits or bits
        symmetric = symmetric if setting.symmetric is None else setting.symmetric
    return Grid(max(bits, 8), False, symmetric, PerTensor())


def _executable_grid(op_type: str, grid: Grid) -> Grid:
    """``grid``, or the one that the target executes ``op_type`` in where it has no kernel for ``grid``."""
    wanted = "fp16" if grid.is_float else f"u{grid.bits}"
    kind = kernels.executable_type(op_type, wanted)
    if kind == wanted:
        return grid
    return FLOAT16 if kind == "fp16" else Grid(int(kind[1:]))
