"""make_plan: the target's rules plus the user's overrides decide, for each tensor, its grid and its encoding.

Order of decisions (first that applies wins):

1. not a float tensor, or an operand that is a parameter of the operator (Clip bounds, pads): not quantized;
2. float16 by scheme or override: *float*;
3. output of a data-movement operator: *shared* with input 0;
4. output whose only reader is a Relu or Clip(0, c): *fused*, and the activation's output carries the encoding;
5. output with a fixed range (Softmax, Sigmoid, Tanh): *fixed*;
6. weight: *own* range, symmetric, per channel where the target can; bias: *derived*; other constants: *own*;
7. everything else: *observed*; what attention masks can be is within the range whatever is observed (sim/masks.py).
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.core.grid import FLOAT16, Grid
from hexaquant.htp import kernels
from hexaquant.htp.check import by_name, check_graph
from hexaquant.htp.recurrent.layer import DEFAULTS
from hexaquant.htp.scheme import Scheme, check_scheme, scheme_warnings
from hexaquant.htp.soc import Target
from hexaquant.ir.edit import copy_constant
from hexaquant.ir.graph import Graph, constant, is_float_value
from hexaquant.sim.activation_grids import ActivationPlanner
from hexaquant.sim.constants import bias_plan, constant_plan, is_parameter, weight_plan
from hexaquant.sim.converts import insert_converts, only_moves
from hexaquant.sim.einsum_products import products_as_einsum
from hexaquant.sim.masks import margin_of, mask_ranges, masked_scores
from hexaquant.sim.node_schemes import node_schemes
from hexaquant.sim.overrides import Overrides
from hexaquant.sim.plan import QuantPlan, Role, TensorPlan
from hexaquant.sim.ties import tie_tensors


def make_plan(graph: Graph, target: Target, scheme: Scheme, overrides: Overrides | None = None) -> QuantPlan:
    """The plan of ``graph``. Mixed types add explicit convert nodes to ``graph`` (see sim/converts.py).

    Raises TargetError when the target refuses the scheme or an operator, InputError for overrides that match
    nothing.
    """
    check_scheme(scheme, target)
    rules = overrides or Overrides()
    check_graph(graph, target, by_name(node_schemes(ActivationPlanner(graph, scheme, rules))))
    return plan_unchecked(graph, target, scheme, rules)


def plan_unchecked(graph: Graph, target: Target, scheme: Scheme, overrides: Overrides | None = None) -> QuantPlan:
    """As make_plan, without asking whether the target takes the network: for measuring what it takes."""
    rules = overrides or Overrides()
    _check_globs(graph, rules)
    activations = ActivationPlanner(graph, scheme, rules)
    insert_converts(graph, activations.grid_of_node, activations.input_grid)
    products_as_einsum(graph, activations.grid_of_node)
    planner = _Planner(graph, target, scheme, rules, ActivationPlanner(graph, scheme, rules))
    return tie_tensors(planner.run(), rules.ties)


def _check_globs(graph: Graph, rules: Overrides) -> None:
    names = {v.name or "" for v in graph.values()}
    for node in graph.nodes:
        names |= {node.name or "", graph.origin(node).module}
    unused = rules.unused(names)
    if unused:
        raise InputError(f"override '{unused[0]}' matches no tensor, node or module of {graph.source}")


class _Planner:
    """One walk over the graph in topological order."""

    def __init__(
        self, graph: Graph, target: Target, scheme: Scheme, overrides: Overrides, activations: ActivationPlanner
    ) -> None:
        self.graph = graph
        self.target = target
        self.scheme = scheme
        self.overrides = overrides
        self.activations = activations
        self.tensors: dict[str, TensorPlan] = {}
        self.bypass: list[str] = []
        self.warnings = scheme_warnings(scheme, target)
        self.output_names = {v.name for v in graph.outputs}

    def run(self) -> QuantPlan:
        for value in self.graph.inputs:
            self._plan_input(value)
        for node in self.graph.nodes:
            self._plan_constants(node)
            for value in node.outputs:
                if value.name and value.name not in self.tensors:
                    self._add(self._plan_output(node, value))
            self._plan_biases(node)
        self._allow_for_masks()
        return QuantPlan(self.target, self.scheme, self.tensors, tuple(self.bypass), tuple(self.warnings))

    def _allow_for_masks(self) -> None:
        masks = mask_ranges(self.graph)
        scores = masked_scores(self.graph, masks)
        for plan in list(self.tensors.values()):
            if plan.how == "observed" and plan.name in masks:
                self._add(replace(plan, holds=masks[plan.name]))
            elif plan.how == "observed" and plan.name in scores:
                axis, length = scores[plan.name]
                bits = plan.grid.bits if plan.grid is not None else 8
                self._add(replace(plan, margin=margin_of(length, bits), along=axis))

    def _add(self, plan: TensorPlan) -> None:
        self.tensors[plan.name] = plan

    def _plan_input(self, value: oir.Value) -> None:
        name = value.name or ""
        if not is_float_value(value):
            self._add(TensorPlan(name, "input", "float", reason=f"holds {value.dtype} indices"))
            return
        grid = self.activations.grid(value)
        layer = f"input '{name}'"
        observer = self._observer(value)
        if grid.is_float:
            self._add(TensorPlan(name, "input", "float", grid, layer=layer, reason="kept in float16"))
        else:
            self._add(TensorPlan(name, "input", "observed", grid, layer=layer, observer=observer))

    def _plan_output(self, node: oir.Node, value: oir.Value) -> TensorPlan:
        name = value.name or ""
        layer = str(self.graph.origin(node))
        rule = kernels.rule_of(node.op_type)
        if not is_float_value(value) or rule is None or (rule.role == "logic" and node.op_type != "Cast"):
            return TensorPlan(name, "activation", "float", layer=layer, reason="not a real number")
        if only_moves(node):
            return self._plan_move(node, name, layer)
        grid = self.activations.grid(value)
        if grid.is_float:
            return TensorPlan(name, "activation", "float", grid, layer=layer, reason=self._float_reason(value, node))
        if rule.low is not None:
            grid = self._fixed_grid(name, rule, grid)
            low, high = fixed_range(rule, grid)
            return TensorPlan(name, "activation", "fixed", grid, low=low, high=high, layer=layer)
        follower = self._clipping_follower(value, node, grid)
        if follower is not None:
            self._plan_fused_activation(follower, name, grid, layer)
            source = follower.outputs[0].name
            return TensorPlan(
                name, "activation", "fused", source=source, layer=layer, reason=f"with {follower.op_type}"
            )
        return TensorPlan(name, "activation", "observed", grid, layer=layer, observer=self._observer(value))

    def _float_reason(self, value: oir.Value, node: oir.Node) -> str:
        wanted = self.activations.wanted(value)
        if wanted.is_float:
            return "kept in float16"
        return f"the target has no {wanted.bits}-bit kernel for {node.op_type}: it computes in float16"

    def _observer(self, value: oir.Value) -> str | None:
        setting = self.activations.setting(value)
        node = value.producer()
        if setting is not None and setting.observer is not None:
            return setting.observer
        return "whole" if node is not None and node.op_type in kernels.WHOLE_VALUED else None

    def _fixed_grid(self, name: str, rule: kernels.OpRule, grid: Grid) -> Grid:
        """The kernels' own 16-bit encoding of outputs in [0, 1) is asymmetric, whatever the scheme says.

        Only the second operand of a product of two activations stays symmetric.
        """
        unsigned = rule.low == 0 and grid.bits == 16 and name not in self.activations.symmetric
        return replace(grid, symmetric=False) if unsigned else grid

    def _plan_move(self, node: oir.Node, name: str, layer: str) -> TensorPlan:
        source = node.inputs[0]
        source_plan = self.tensors.get(source.name or "") if source is not None else None
        if source_plan is None or source_plan.how == "float":
            return TensorPlan(name, "activation", "float", FLOAT16, layer=layer, reason="moves a float tensor")
        return TensorPlan(name, "activation", "shared", source_plan.grid, source=source_plan.name, layer=layer)

    def _clipping_follower(self, value: oir.Value, node: oir.Node, grid: Grid) -> oir.Node | None:
        """The Relu/Clip(0, c) node that alone reads ``value`` and whose clipping a quantized output does itself."""
        readers = list(value.consumers())
        if node.op_type not in kernels.FUSES_CLIPPING or grid.symmetric:
            return None
        if len(readers) != 1 or value.name in self.output_names:
            return None
        if readers[0].op_type not in kernels.CLIPPING_ACTIVATIONS:
            return None
        low, _ = clip_bounds(readers[0])
        same_grid = self.activations.grid(readers[0].outputs[0]) == grid
        return readers[0] if low == 0 and same_grid else None

    def _plan_fused_activation(self, node: oir.Node, producer: str, grid: Grid, layer: str) -> None:
        value = node.outputs[0]
        clamp = clip_bounds(node)
        self.bypass.append(node.name or "")
        observer = self._observer(value)
        self._add(
            TensorPlan(
                value.name or "",
                "activation",
                "observed",
                grid,
                source=producer,
                clamp=clamp,
                layer=layer,
                observer=observer,
            )
        )

    def _plan_constants(self, node: oir.Node) -> None:
        for index, value in enumerate(node.inputs):
            plan = self._constant_plan(node, index, value)
            if plan is None:
                continue
            known = self.tensors.get(plan.name)
            if known is None:
                self._add(plan)
            elif (known.how, known.grid) != (plan.how, plan.grid):
                self._add(replace(plan, name=self._copy(node, index)))

    def _constant_plan(self, node: oir.Node, index: int, value: oir.Value | None) -> TensorPlan | None:
        """Of operand ``index`` if it is a real constant and no bias of an operator of integers."""
        if value is None or not value.is_initializer() or not value.name or not is_float_value(value):
            return None
        if is_parameter(node.op_type, index):
            return None
        grid = self.activations.grid_of_node(node)
        if grid.is_float:
            layer = str(self.graph.origin(node))
            parameters = kernels.RECURRENT_WEIGHTS if node.op_type in DEFAULTS else {}
            role: Role = parameters.get(index, "constant")
            return TensorPlan(value.name, role, "float", FLOAT16, layer=layer, reason="kept in float16")
        if index == kernels.BIAS_INPUTS.get(node.op_type):
            return None
        if index == kernels.WEIGHT_INPUTS.get(node.op_type):
            return weight_plan(self.graph, node, value, self.scheme, self.overrides)
        return constant_plan(self.graph, node, index, value, grid)

    def _copy(self, node: oir.Node, index: int) -> str:
        """The name of a copy that ``node`` reads from now on: what several layers read has one encoding."""
        value = node.inputs[index]
        assert value is not None
        return copy_constant(value, node, index).name or ""

    def _plan_biases(self, node: oir.Node) -> None:
        index = kernels.BIAS_INPUTS.get(node.op_type)
        if index is None or len(node.inputs) <= index or node.inputs[index] is None:
            return
        bias = node.inputs[index]
        if bias is None or not bias.is_initializer():
            return
        if self.activations.grid_of_node(node).is_float:
            return  # planned with the other constants
        plan = bias_plan(self.graph, node, bias, self.tensors)
        known = self.tensors.get(plan.name)
        if known is None:
            self._add(plan)
        elif (known.how, known.source, known.weight) != (plan.how, plan.source, plan.weight):
            self._add(replace(plan, name=self._copy(node, index)))


def clip_bounds(node: oir.Node) -> tuple[float | None, float | None]:
    """(low, high) of a Relu or Clip node; (None, None) when a bound is computed rather than constant."""
    if node.op_type == "Relu":
        return 0.0, None
    bounds: list[float | None] = [None, None]
    for i, value in enumerate(node.inputs[1:3]):
        data = constant(value)
        if value is not None and data is None:
            return None, None
        bounds[i] = None if data is None else float(data.reshape(-1)[0])
    return bounds[0], bounds[1]


def fixed_range(rule: kernels.OpRule, grid: Grid) -> tuple[float, float]:
    """The real range of an operator with fixed output range, on the target's exact scale.

    16-bit outputs use scale 2^-16 over [0, 1) and 2^-15 over [-1, 1), as the target's kernels require.
    """
    low = rule.low or 0.0
    high = rule.high or 1.0
    if grid.bits < 16 or (grid.symmetric and low == 0):
        return low, high
    return low, high - (high - low) / grid.levels
