"""Windows over a cropped map: Conv and AveragePool behind a Slice that cuts the beginning of an axis.

The target takes such a cut into the window operator behind it, as if it were padding, and in silence computes something
else (-13 to 10 dB; 8 bits, 16 bits and float16 alike, release 2.7.0). Measured with a 9x9 map cut to 8x8 behind a
convolution, a pooling, a resize or a normalization:

- wrong: AveragePool, convolutions of one or more groups without padding, also through Relu, Clip and PRelu, and behind
  the second part of a Split;
- right: cuts at the end, of channels, behind a Sigmoid, behind the network's own input (but not behind its Transpose);
  MaxPool, Resize, ConvTranspose, windows with strides of 2 of a convolution, padded ones.

Which of the latter stay right with other sizes is not known, so every Conv and AveragePool behind such a cut gets
Gathers in the place of the Slices: the same numbers, which the target does not merge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as oir

from hexaquant.htp.qdq_view import View
from hexaquant.ir.edit import insert_before, int_attribute
from hexaquant.ir.graph import constant, shape_of

PASSED = ("Transpose", "Relu", "Clip", "LeakyRelu", "PRelu", "Identity")
"""Operators through which the target carries a cut to the window behind."""


@dataclass(frozen=True)
class Cut:
    """What a Slice, or a part of a Split, leaves of ``axis``: the elements start..stop - 1 of ``size``."""

    axis: int
    start: int
    stop: int
    size: int

    @property
    def is_needed(self) -> bool:
        return self.start > 0 or self.stop < self.size


def find_cropped_window(view: View, node: oir.Node) -> str:
    """A window operator behind a cut of the beginning of a spatial axis (of any axis, with a Transpose on the way)."""
    begun = any(cut.start for cut in _cuts_before(view, node))
    return "computes over a map that is cut at the beginning of an axis" if begun else ""


def cut_by_gathers(view: View, node: oir.Node) -> bool:
    """Each Slice and Split before the window becomes Gathers, one for each axis or part."""
    steps = [step for step, _ in _path(view, node)]
    slices = [step for step in steps if step.op_type == "Slice" and list(_of_slice(step))]
    splits = [step for step in steps if step.op_type == "Split" and list(_of_split(step, step.outputs[0]))]
    for step in slices:
        _gather_slice(view, step)
    for step in splits:
        _gather_parts(view, step)
    return bool(slices or splits)


def _cuts_before(view: View, node: oir.Node) -> Iterator[Cut]:
    """Those of spatial axes; of all, where a Transpose lies between."""
    turned = any(step.op_type == "Transpose" for step, _ in _path(view, node))
    return (cut for cut in _all_cuts(view, node) if turned or cut.axis > 1)


def _all_cuts(view: View, node: oir.Node) -> Iterator[Cut]:
    for step, value in _path(view, node):
        if step.op_type == "Slice":
            yield from _of_slice(step)
        elif step.op_type == "Split":
            yield from _of_split(step, value)


def _path(view: View, node: oir.Node) -> list[tuple[oir.Node, oir.Value]]:
    """(operator, what it gives) before ``node``, the nearest first. Empty where nothing but cuts and activations lies
    between the network's input and ``node``: then nothing is merged."""
    path = list[tuple[oir.Node, oir.Value]]()
    value = view.root(node.inputs[0])
    while value is not None and (step := value.producer()) is not None and step.op_type in (*PASSED, "Slice", "Split"):
        path.append((step, value))
        value = view.root(step.inputs[0])
    at_input = value is None or value.producer() is None
    return [] if at_input and not any(step.op_type == "Transpose" for step, _ in path) else path


def _of_slice(node: oir.Node) -> Iterator[Cut]:
    """Of a Slice by steps of 1 with constant bounds; none of anything else."""
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    given = [constant(value) for value in node.inputs[1:]]
    if shape is None or any(data is None for data in given):
        return
    starts, ends, axes, steps = ([] if data is None else data.tolist() for data in (*given, None, None)[:4])
    axes = [axis % len(shape) for axis in (axes or range(len(starts)))]
    sizes = [shape[axis] for axis in axes]
    if any(step != 1 for step in steps) or not all(isinstance(size, int) for size in sizes):
        return
    for axis, size, start, end in zip(axes, sizes, starts, ends):
        low, high, _ = slice(start, end).indices(int(str(size)))
        yield Cut(axis, low, high, int(str(size)))


def _of_split(node: oir.Node, value: oir.Value) -> Iterator[Cut]:
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    if shape is None:
        return
    axis = int_attribute(node, "axis", 0) % len(shape)
    sizes = [(shape_of(part) or ())[axis : axis + 1] for part in node.outputs]
    if not all(len(size) == 1 and isinstance(size[0], int) for size in sizes):
        return
    index = list(node.outputs).index(value)
    start = sum(int(str(size[0])) for size in sizes[:index])
    stop = start + int(str(sizes[index][0]))
    yield Cut(axis, start, stop, sum(int(str(size[0])) for size in sizes))


def _gather_slice(view: View, node: oir.Node) -> None:
    cuts = [cut for cut in _of_slice(node) if cut.is_needed]
    value = node.inputs[0]
    dims = list(shape_of(value) or ()) if value is not None else []
    name = node.outputs[0].name or "cut"
    for cut in cuts[:-1]:
        dims[cut.axis] = cut.stop - cut.start
        inputs = [value, _places(view, cut, name)]
        value = view.insert(node, "Gather", inputs, {"axis": cut.axis}, f"{name}_axis{cut.axis}", value, dims)
    if cuts:
        view.replace(node, "Gather", [value, _places(view, cuts[-1], name)], {"axis": cuts[-1].axis})


def _gather_parts(view: View, node: oir.Node) -> None:
    cuts = [next(_of_split(node, part)) for part in node.outputs]
    for cut, part in zip(cuts, list(node.outputs)):
        name = part.name or "part"
        gathered = insert_before(node, "Gather", [node.inputs[0], _places(view, cut, name)], {"axis": cut.axis}, name)
        gathered.shape = part.shape
        gathered.type = part.type
        part.replace_all_uses_with(gathered, replace_graph_outputs=True)
        part.name = None
        gathered.name = name
    view.graph.remove(node, safe=True)


def _places(view: View, cut: Cut, name: str) -> oir.Value:
    return view.integers(f"{name}_places{cut.axis}", list(range(cut.start, cut.stop)))
