"""From what tf2onnx wrote to the normalized graph: the user's names, layers as origins, no chains of Transposes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_batchnorm import form_batchnorm
from hexaquant.frontends.tensorflow_process import Conversion
from hexaquant.ir.edit import taken_names
from hexaquant.ir.graph import ORIGIN_MODULE, Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.passes.fold_affine import fold_affine
from hexaquant.ir.passes.fold_dequantized import fold_dequantized
from hexaquant.ir.passes.merge_reshapes import merge_reshapes
from hexaquant.ir.passes.move_transposes import move_transposes
from hexaquant.ir.passes.name_everything import name_everything

COUNTED = re.compile(r"_\d+$")
"""What TensorFlow appends to a layer's scope that was used before."""

LAYOUT = (fold_dequantized, move_transposes, merge_reshapes, fold_affine)
"""From channels last to the layout of ONNX's operators."""


def finish(conversion: Conversion, source: str, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    """The normalized graph of ``conversion``. Raises InputError for open dimensions and what normalize refuses."""
    graph = Graph(conversion.model, source)
    _shorten_names(graph)
    name_batch(graph, shapes or {})
    name_everything(graph)
    record_layers(graph, conversion.layers)
    form_batchnorm(graph)
    _forget_shapes(graph)
    return normalize(graph, shapes, LAYOUT)


def record_layers(graph: Graph, layers: Sequence[str]) -> None:
    """Write the Keras layers in each node's scope ("block/conv") as its origin."""
    known = set(layers)
    for node in graph.nodes:
        path = [layer for part in (node.name or "").split("/") if (layer := _layer(part, known))]
        if path:
            node.metadata_props[ORIGIN_MODULE] = "/".join(path)


def _layer(part: str, known: set[str]) -> str:
    """The layer that a component of a scope ("conv1_1" for "conv1") belongs to, or nothing."""
    while part not in known and COUNTED.search(part):
        part = COUNTED.sub("", part)
    return part if part in known else ""


def _shorten_names(graph: Graph) -> None:
    """ "conv/Relu:0" is called "conv/Relu" where that is free."""
    taken = taken_names(graph.model.graph)
    for value in list(graph.values()):
        short = (value.name or "").removesuffix(":0")
        if short != value.name and short and short not in taken:
            taken.add(short)
            value.name = short


def name_batch(graph: Graph, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Dimension 0 of unknown size is "batch"; any other must be given."""
    for value in graph.inputs:
        dims = list(value.shape) if value.shape is not None else None
        if value.name in shapes:
            continue
        if dims is None or any(not isinstance(dim, int) for dim in dims[1:]):
            shown = "unknown" if dims is None else ",".join(str(d) if isinstance(d, int) else "?" for d in dims)
            raise InputError(
                f"{graph.source}: input '{value.name}' has free dimensions ({shown}) and the target needs fixed ones; "
                f"give its shape with --shape {value.name}=... (shapes={{...}} in Python)"
            )
        if dims and not isinstance(dims[0], int):
            value.shape = oir.Shape(["batch", *dims[1:]])


def _forget_shapes(graph: Graph) -> None:
    """tf2onnx gives every unknown dimension a name of its own; inference starts from the inputs again."""
    for node in graph.nodes:
        for value in node.outputs:
            value.shape = None
