"""The form of a converted network's inputs and outputs: which tensors end it, and in which layout they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as oir

from hexaquant.api.convert import Network
from hexaquant.core.errors import InputError
from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import Graph

LAYOUTS = ("NCDHW", "NDHWC", "NCHW", "NHWC", "HWIO", "OIHW", "NFC", "NCF", "NTF", "TNF", "NF", "NC", "F")
"""Names of Qualcomm's converters: N batch, C channels, D H W space, F features, T time, I O of weights."""
NONTRIVIAL = "NONTRIVIAL"
"""A layout without a name: it can only stay as it is."""
USUAL = {5: "NCDHW", 4: "NCHW", 3: "NCF", 2: "NC", 1: "F"}
"""Layout of a tensor of an ONNX or PyTorch network by its rank, where nobody says another."""


@dataclass(frozen=True)
class Layout:
    """``source``: that of the tensor in the source network, empty for the usual one; ``desired``: the converted one."""

    desired: str
    source: str = ""


def change_layouts(network: Network, layouts: Mapping[str, Layout]) -> Network:
    """``network`` with the inputs and outputs in ``layouts`` permuted; names and encodings stay with the new ones.

    The tensor in the source's layout is called NAME_LAYOUT. Raises InputError for names that are no inputs or outputs
    and for layouts that do not fit the tensor or each other.
    """
    graph = network.graph.clone()
    given = dict(network.given)
    ends = {v.name or "" for v in (*graph.inputs, *graph.outputs)}
    for name, layout in layouts.items():
        if name not in ends:
            raise InputError(f"{graph.source} has no input or output '{name}', only {', '.join(sorted(ends))}")
        order = permutation(graph.value(name), layout)
        if order is None:
            continue
        if any(value.name == name for value in graph.inputs):
            _permute_input(graph, name, order, layout)
        else:
            inner = _permute_output(graph, name, order, layout)
            if name in given:
                given[inner] = given.pop(name)
    return replace(network, graph=graph, given=given)


def permutation(value: oir.Value, layout: Layout) -> list[int] | None:
    """Axes of the source layout in the order of the desired one; None where nothing moves. Raises InputError."""
    rank = 0 if value.shape is None else len(value.shape)
    source = layout.source or USUAL.get(rank, NONTRIVIAL)
    for one in (source, layout.desired):
        if one not in (*LAYOUTS, NONTRIVIAL):
            raise InputError(f"'{value.name}': layout {one} is unknown; known are {', '.join((*LAYOUTS, NONTRIVIAL))}")
        if one != NONTRIVIAL and len(one) != rank:
            raise InputError(f"'{value.name}' has {rank} dimensions, so its layout cannot be {one}; correct it")
    if source == layout.desired:
        return None
    if NONTRIVIAL in (source, layout.desired) or sorted(source) != sorted(layout.desired):
        raise InputError(f"'{value.name}' cannot become {layout.desired} from {source}; their letters must be the same")
    return [source.index(letter) for letter in layout.desired]


def _permute_input(graph: Graph, name: str, order: Sequence[int], layout: Layout) -> None:
    """The input keeps its name and gets the desired shape; a Transpose gives its readers what they had."""
    value = graph.value(name)
    core = graph.model.graph
    readers = list(value.uses())
    back = [list(order).index(axis) for axis in range(len(order))]
    node = _transpose(graph, value, back, f"{name}_{layout.source or USUAL[len(order)]}")
    node.outputs[0].shape = value.shape
    node.outputs[0].type = value.type
    value.shape = _permuted(value.shape, order)
    for use in readers:
        use.node.replace_input_with(use.idx, node.outputs[0])
    if readers:
        core.insert_before(next(iter(core)), node)


def _permute_output(graph: Graph, name: str, order: Sequence[int], layout: Layout) -> str:
    """A Transpose computes the output; what was the output gets the name that is returned."""
    value = graph.value(name)
    core = graph.model.graph
    inner = unique_name(f"{name}_{layout.source or USUAL[len(order)]}", taken_names(core))
    value.name = inner
    node = _transpose(graph, value, order, name)
    node.outputs[0].shape = _permuted(value.shape, order)
    node.outputs[0].type = value.type
    core.append(node)
    core.outputs[list(core.outputs).index(value)] = node.outputs[0]
    return inner


def _transpose(graph: Graph, source: oir.Value, order: Sequence[int], name: str) -> oir.Node:
    node = oir.node("Transpose", [source], {"perm": list(order)}, name=f"{name}_layout")
    node.outputs[0].name = unique_name(name, taken_names(graph.model.graph))
    return node


def _permuted(shape: oir.Shape | None, order: Sequence[int]) -> oir.Shape | None:
    return None if shape is None else oir.Shape([shape[axis] for axis in order])


def check_datatypes(network: Network, said: Mapping[str, str]) -> None:
    """Raise InputError where the source network's type of an input is not the one that was ``said``."""
    inputs = {value.name or "": value for value in network.graph.inputs}
    for name, dtype in said.items():
        if name not in inputs:
            raise InputError(f"{network.graph.source} has no input '{name}', only {', '.join(inputs)}")
        found = inputs[name].dtype
        held = "unknown" if found is None else str(found.numpy())
        if held != dtype:
            raise InputError(f"input '{name}' is {held} in {network.graph.source}, not {dtype}; correct the flag")
