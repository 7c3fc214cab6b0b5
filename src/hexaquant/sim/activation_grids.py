"""The grid of each activation before converts are placed: what overrides or the scheme say, if the target can."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.core.grid import FLOAT16, Grid, PerTensor
from hexaquant.htp import kernels
from hexaquant.htp.scheme import Scheme
from hexaquant.ir.graph import Graph, is_float_value
from hexaquant.sim.converts import convert_grid, only_moves
from hexaquant.sim.einsum_products import second_operands
from hexaquant.sim.overrides import Overrides, Setting


class ActivationPlanner:
    """Which grid the outputs of a node get, before converts are placed."""

    def __init__(self, graph: Graph, scheme: Scheme, overrides: Overrides) -> None:
        self.graph = graph
        self.scheme = scheme
        self.overrides = overrides
        self.symmetric = second_operands(graph)
        self.moved = overrides_of_moved_data(graph, overrides)

    def setting(self, value: oir.Value) -> Setting | None:
        """The override for a computed value: by its name, its node's name or its module path, or as moved data."""
        positions = [self.overrides.last(*names_of(self.graph, value)), self.moved.get(value.name or "")]
        last = max((position for position in positions if position is not None), default=None)
        return None if last is None else self.overrides.entries[last][1]

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
        if only_moves(node) and node.inputs[0] is not None:
            producer = node.inputs[0].producer()
            return self.grid(node.inputs[0]) if producer is None else self.grid_of_node(producer)
        return self.grid(node.outputs[0])

    def input_grid(self, value: oir.Value) -> Grid:
        """The grid in which ``value`` arrives at its readers."""
        producer = value.producer()
        return self.grid(value) if producer is None else self.grid_of_node(producer)


def names_of(graph: Graph, value: oir.Value) -> tuple[str, ...]:
    """By what an override can name ``value``: its name, its node's name and its module path."""
    node = value.producer()
    return (value.name or "",) if node is None else (value.name or "", node.name or "", graph.origin(node).module)


def overrides_of_moved_data(graph: Graph, overrides: Overrides) -> Mapping[str, int]:
    """Tensor -> position of the override that names it by what it is moved to (Transpose, Reshape, MaxPool ...).

    Only overrides that match nothing but moved data count: one that also matches layers or constants is for those.
    Raises InputError where two overrides want different things of one tensor, and for moved integers.
    """
    moved = list(_moved(graph)) if overrides.entries else []
    others = _names_of_layers(graph, {value.name for value, _ in moved})
    rest = [position for position, (glob, _) in enumerate(overrides.entries) if moved and not _matches(glob, others)]
    reaching = Overrides(tuple(overrides.entries[position] for position in rest))
    wanted: dict[str, dict[str, int]] = {}
    integers: dict[int, str] = {}
    for value, root in moved if rest else ():
        last = reaching.last(*names_of(graph, value))
        if last is not None and is_float_value(root):
            wanted.setdefault(root.name or "", {})[value.name or ""] = rest[last]
        elif last is not None:
            integers[rest[last]] = value.name or ""
    for name, found in wanted.items():
        _require_one_setting(name, found, overrides)
    useless = set(integers) - {position for found in wanted.values() for position in found.values()}
    for position in useless:
        glob = overrides.entries[position][0]
        raise InputError(f"override '{glob}' is for '{integers[position]}', which holds integers: leave it out")
    return {name: max(found.values()) for name, found in wanted.items()}


def _names_of_layers(graph: Graph, moved: Collection[str | None]) -> set[str]:
    """The names by which overrides match what is not moved data: inputs, constants that are data, computed tensors."""
    settings = {v.name for node in graph.nodes if only_moves(node) for v in node.inputs[1:] if v is not None}
    values = [v for v in graph.values() if v.name not in moved and not (v.is_initializer() and v.name in settings)]
    return {name for value in values for name in names_of(graph, value)}


def _matches(glob: str, names: set[str]) -> bool:
    return glob in names if not set(glob) & set("*?[") else any(fnmatchcase(name, glob) for name in names)


def _moved(graph: Graph) -> Iterator[tuple[oir.Value, oir.Value]]:
    """(what data movement gives, the tensor that it moves) in topological order."""
    roots: dict[oir.Value, oir.Value] = {}
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else None
        if source is None or not only_moves(node):
            continue
        for value in node.outputs:
            if value.name and (is_float_value(value) or not is_float_value(source)):
                roots[value] = roots.get(source, source)
                yield value, roots[value]


def _require_one_setting(name: str, found: Mapping[str, int], overrides: Overrides) -> None:
    """``found``: the names to which the tensor ``name`` is moved -> position of the override that names it so."""
    own = overrides.last(name)
    if own is not None and overrides.entries[own][0] == name:
        found = {**found, name: own}
    first, last = (overrides.entries[position] for position in (min(found.values()), max(found.values())))
    if first[1] != last[1]:
        raise InputError(
            f"overrides '{first[0]}' and '{last[0]}' differ, but both are for the data of '{name}', which has one "
            "encoding wherever it is moved: leave one out"
        )


def _activation_grid(scheme: Scheme, setting: Setting | None) -> Grid:
    if setting is not None and setting.is_float:
        return FLOAT16
    chosen = setting.scheme if setting is not None and setting.scheme is not None else scheme
    if chosen.is_float and (setting is None or setting.bits is None):
        return FLOAT16
    bits = chosen.act_bits
    symmetric = chosen.symmetric_activations
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
