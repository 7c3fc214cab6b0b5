"""Remove the Transposes that frameworks with channels last leave around every convolution.

A graph from TensorFlow reads Transpose, Conv, Transpose, Relu, Transpose, Conv ... The operators between are moved to
the layout of the convolutions, and the Transposes meet and cancel. Repeated until nothing changes:

1. Transpose of a Transpose is one with the composed permutation; the identity is removed; equal ones are shared.
2. Down: an operator whose data inputs are all transposed by P computes before the Transpose (push_transpose.py). Where
   some inputs are not, they are transposed back if that removes more Transposes than it adds; that of a dequantized
   constant costs nothing, as it is folded (fold_dequantized.py).
3. A Transpose that is left and only moves dimensions of size 1 is a Reshape (which merge_reshapes absorbs).
4. Up: a Transpose that no rule could remove moves before the operators that compute its input from one tensor, so that
   it ends at the graph's border (or meets another).

The result replaces the graph only if it has fewer Transposes. Names, origins and outputs' layouts stay.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import (
    add_constant,
    bypass,
    insert_before,
    ints_attribute,
    private_constant,
    producer,
    set_constant,
    taken_names,
    unique_name,
)
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_dequantized import fold_dequantized
from hexaquant.ir.passes.push_transpose import Perm, Rewrite, inverse, rewrite_of

MAX_SWEEPS = 8


def move_transposes(graph: Graph) -> int:
    """Returns the number of Transposes that ``graph`` has fewer."""
    before = count_transposes(graph)
    trial = graph.clone()
    for sweep in (_sweep_down, _sweep_up):
        for _ in range(MAX_SWEEPS):
            if not sweep(trial):
                break
    fold_dequantized(trial)
    after = count_transposes(trial)
    if after < before:
        graph.model = trial.model
    return max(before - after, 0)


def count_transposes(graph: Graph) -> int:
    """Number of Transpose nodes."""
    return sum(node.op_type == "Transpose" and node.domain == "" for node in graph.nodes)


def _sweep_down(graph: Graph) -> int:
    changed = 0
    taken = taken_names(graph.model.graph)
    for node in graph.nodes:
        if node.graph is None:
            continue
        changed += _simplify(graph, node) if perm_of(node) else _push(graph, node, taken)
    return changed + _remove_dead(graph)


def _sweep_up(graph: Graph) -> int:
    changed = 0
    taken = taken_names(graph.model.graph)
    for node in reversed(graph.nodes):
        if node.graph is not None and perm_of(node):
            changed += _simplify(graph, node) or _as_reshape(graph, node) or _pull(graph, node, taken)
    return changed + _remove_dead(graph)


def perm_of(node: oir.Node | None) -> Perm | None:
    """The permutation of a Transpose that states one; None for any other node."""
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    return tuple(ints_attribute(node, "perm")) or None


def _simplify(graph: Graph, node: oir.Node) -> bool:
    """Rule 1."""
    perm = perm_of(node)
    source = node.inputs[0]
    assert perm is not None and source is not None
    if perm == tuple(range(len(perm))):
        return bypass(graph, node, source)
    first = producer(source, "Transpose")
    inner = perm_of(first)
    if first is not None and inner is not None:
        node.replace_input_with(0, first.inputs[0])
        node.attributes["perm"] = oir.AttrInt64s("perm", [inner[axis] for axis in perm])
        return True
    twin = next((n for n in _readers(source) if n is not node and perm_of(n) == perm), None)
    if twin is not None and not node.outputs[0].is_graph_output() and _precedes(graph, twin, node):
        node.outputs[0].replace_all_uses_with(twin.outputs[0])
        return True
    return False


def _precedes(graph: Graph, first: oir.Node, second: oir.Node) -> bool:
    return next(n for n in graph.model.graph if n is first or n is second) is first


def _as_reshape(graph: Graph, node: oir.Node) -> bool:
    """Rule 3."""
    perm = perm_of(node)
    source = node.inputs[0]
    if perm is None or source is None or source.shape is None:
        return False
    moving = [axis for axis in perm if source.shape[axis] != 1]
    target = [source.shape[axis] for axis in perm]
    unknown = [i for i, dim in enumerate(target) if not isinstance(dim, int)]
    if moving != sorted(moving) or len(unknown) > 1:
        return False
    numbers = [dim if isinstance(dim, int) else -1 for dim in target]
    base = f"{node.outputs[0].name}_shape"
    node_shape = add_constant(graph.model.graph, base, np.array(numbers, np.int64))
    old = node.outputs[0]
    value = insert_before(node, "Reshape", [source, node_shape], {}, f"{old.name}_reshaped")
    value.shape = oir.Shape(target)
    value.type = old.type
    return bypass(graph, node, value)


def _push(graph: Graph, node: oir.Node, taken: set[str]) -> bool:
    """Rule 2."""
    perms = [perm_of(v.producer()) if v is not None else None for v in node.inputs]
    perm = next((p for p in perms if p is not None), None)
    rewrite = None if perm is None else rewrite_of(node, perm)
    if perm is None or rewrite is None or not any(perms[i] == perm for i in rewrite.data):
        return False
    missing = [i for i in rewrite.data if perms[i] != perm]
    costly = [i for i in missing if not _is_dequantized_constant(node.inputs[i])]
    if costly and _gain(node, rewrite, missing, costly) <= 0:
        return False
    data = {}
    for index in rewrite.data:
        value = node.inputs[index]
        assert value is not None
        transpose = value.producer()
        if index in missing or transpose is None:
            data[index] = _transposed(node, value, inverse(perm), "in")
        else:
            data[index] = transpose.inputs[0]  # type: ignore[assignment]
    _rebuild(graph, node, rewrite, data, taken)
    return True


def _is_dequantized_constant(value: oir.Value | None) -> bool:
    node = producer(value, "DequantizeLinear")
    return node is not None and constant(node.inputs[0]) is not None


def _gain(node: oir.Node, rewrite: Rewrite, missing: list[int], costly: list[int]) -> int:
    """Transposes removed less those added (to ``costly`` ones) when ``node`` moves before those of its inputs."""
    removed = 0
    for index in rewrite.data:
        value = node.inputs[index]
        if index not in missing and value is not None and len(_readers(value)) == 1:
            removed += 1
    back = inverse(rewrite.out)
    readers = [r for output in node.outputs for r in _readers(output)]
    cancelled = [r for r in readers if perm_of(r) == back]
    stays = len(cancelled) < len(readers) or any(v.is_graph_output() for v in node.outputs)
    return removed + bool(cancelled) - len(costly) - stays


def _pull(graph: Graph, transpose: oir.Node, taken: set[str]) -> bool:
    """Rule 4."""
    perm = perm_of(transpose)
    source = transpose.inputs[0]
    node = source.producer() if source is not None else None
    if perm is None or source is None or node is None or len(node.outputs) != 1 or source.is_graph_output():
        return False
    if any(perm_of(reader) != perm for reader in _readers(source)):
        return False
    rewrite = rewrite_of(node, inverse(perm))
    if rewrite is None or len(rewrite.data) != 1 or rewrite.out != inverse(perm):
        return False
    index = rewrite.data[0]
    value = node.inputs[index]
    assert value is not None
    _rebuild(graph, node, rewrite, {index: _transposed(node, value, perm, "first")}, taken)
    return True


def _readers(value: oir.Value) -> list[oir.Node]:
    return [use.node for use in value.uses()]


def _transposed(node: oir.Node, value: oir.Value, perm: Perm, suffix: str) -> oir.Value:
    """``value`` through a new Transpose before ``node``."""
    result = insert_before(node, "Transpose", [value], {"perm": list(perm)}, f"{value.name}_{suffix}")
    result.type = value.type
    if value.shape is not None:
        result.shape = oir.Shape([value.shape[axis] for axis in perm])
    return result


def _rebuild(graph: Graph, node: oir.Node, rewrite: Rewrite, data: dict[int, oir.Value], taken: set[str]) -> None:
    """Put the rewritten ``node`` and a Transpose of each of its outputs in its place."""
    inner = graph.model.graph
    inputs: list[oir.Value | None] = list(node.inputs)
    for index, array in rewrite.constants.items():
        inputs += [None] * (index + 1 - len(inputs))
        inputs[index] = _constant(inner, node, index, array)
    for index, value in data.items():
        inputs[index] = value
    attributes = [a for name, a in node.attributes.items() if name not in rewrite.attributes]
    attributes += [oir.AttrInt64(name, number) for name, number in rewrite.attributes.items()]
    new = oir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs), name=node.name)
    new.metadata_props.update(node.metadata_props)
    inner.insert_before(node, new)
    for old, value in zip(node.outputs, new.outputs):
        _hand_over(node, old, value, rewrite.out, taken)
    inner.remove(node, safe=True)


def _hand_over(node: oir.Node, old: oir.Value, new: oir.Value, perm: Perm, taken: set[str]) -> None:
    """Consumers of ``old`` read the Transpose of ``new``; the name goes to ``new`` unless the graph returns it."""
    new.type = old.type
    name = old.name or ""
    if old.shape is not None and len(old.shape) == len(perm):
        new.shape = oir.Shape([old.shape[axis] for axis in inverse(perm)])
    transpose = oir.node("Transpose", [new], {"perm": list(perm)}, name=unique_name(f"{name}_Transpose", taken))
    transpose.metadata_props.update(node.metadata_props)
    outer = transpose.outputs[0]
    outer.shape = old.shape
    outer.type = old.type
    assert node.graph is not None
    node.graph.insert_before(node, transpose)
    returned = old.is_graph_output()
    old.replace_all_uses_with(outer, replace_graph_outputs=True)
    old.name = None
    spare = unique_name(f"{name}_inside" if returned else f"{name}_transposed", taken)
    taken.add(spare)
    new.name, outer.name = (spare, name) if returned else (name, spare)


def _constant(inner: oir.Graph, node: oir.Node, index: int, array: np.ndarray) -> oir.Value:
    """``array`` in place of input ``index``, under its name where nothing else reads it."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is not None and private_constant(value) is not None:
        set_constant(value, array)
        return value
    base = value.name if value is not None else f"{node.name}_input{index}"
    return add_constant(inner, base or "constant", array)


def _remove_dead(graph: Graph) -> int:
    """Remove Transposes that nothing reads."""
    dead: Iterable[oir.Node] = [n for n in reversed(graph.nodes) if perm_of(n)]
    removed = 0
    for node in dead:
        if not list(node.outputs[0].uses()) and not node.outputs[0].is_graph_output():
            graph.model.graph.remove(node, safe=True)
            removed += 1
    return removed
