"""Float graph + encodings -> QDQ ONNX (opset 21), in which every quantized tensor says so itself.

Names, for a tensor v: ``v_q`` the integers, ``v_scale``, ``v_zero_point`` the parameters, ``v_qdq`` the dequantized
value that all consumers read. A graph output keeps its name on the final DequantizeLinear's output and the computed
value before it becomes ``v_float``. LPBQ weights: ``v_scale`` = DequantizeLinear(``v_scale_q`` uint8,
``v_meta_scale``) per channel.

DequantizeLinear nodes carry metadata (``hexaquant.tensor`` and, where ONNX does not tell, ``hexaquant.symmetric``,
``hexaquant.channel_axis``, ``hexaquant.decompressed_bits``), so that qdq_reader gives back the same encodings.
Convert nodes of the plan (sim.converts) become a DequantizeLinear followed by a QuantizeLinear of the other type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import Lpbq, PerBlock, PerChannel
from hexaquant.io import onnx_storage as storage
from hexaquant.io.encodings_file import unknown_names_message
from hexaquant.ir.graph import CONVERT, Graph, constant, shape_of

# Drop activations whose clipping their output's encoding already does (Conv + Relu on the target).
#
# 1. The node's first input is computed by another node, which only this node reads, and is not a graph output.
# 2. The node is removed; the producer's output takes over the name of the node's output.
# 3. Constants that only the removed nodes read (Clip's bounds) go too.


def drop_fused(graph: Graph, names: Collection[str]) -> None:
    """Remove the nodes called ``names`` from ``graph`` in place.

    Raises EncodingError when there is no such node or condition 1 does not hold.
    """
    nodes = {n.name: n for n in graph.nodes}
    for name in names:
        if name not in nodes:
            raise EncodingError(f"{graph.source} has no node '{name}' to fuse; plan the same graph that is exported")
        _drop(graph, nodes[name])


def _drop(graph: Graph, node: oir.Node) -> None:
    source = node.inputs[0]
    output = node.outputs[0]
    if source is None or source.producer() is None or source.is_graph_output() or len(source.uses()) != 1:
        raise EncodingError(f"{graph.origin(node)} cannot be fused: other nodes or the user also see its input")
    name = output.name
    shape = output.shape
    constants = [v for v in node.inputs[1:] if v is not None]
    output.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.model.graph.remove(node, safe=True)
    output.name = None
    source.name = name
    source.shape = source.shape or shape
    for value in constants:
        if value.is_initializer() and not value.uses() and not value.is_graph_output() and value.name:
            graph.model.graph.initializers.pop(value.name)


OPSET = 21
TENSOR = "hexaquant.tensor"
SYMMETRIC = "hexaquant.symmetric"
CHANNEL_AXIS = "hexaquant.channel_axis"
DECOMPRESSED_BITS = "hexaquant.decompressed_bits"
"""Keys of the metadata on DequantizeLinear nodes."""


def to_qdq(
    graph: Graph,
    encodings: Mapping[str, Encoding],
    *,
    prequantize: bool = True,
    bypass: Collection[str] = (),
    native_io: bool = False,
) -> Graph:
    """A new QDQ graph; ``graph`` is left as it was.

    ``prequantize``: constants as integers + DQ instead of floats + Q + DQ (int32 biases are always integers).
    ``bypass``: names of fused activations to drop (io.fused_nodes).
    ``native_io``: graph inputs and outputs are the integers themselves.
    Float encodings get no Q/DQ. Raises EncodingError when an encoding names no tensor, does not fit its tensor or
    has no ONNX storage type, InputError when the graph is older than opset 21.
    """
    if graph.model.opset_imports.get("", OPSET) < OPSET:
        raise InputError(f"{graph.source} has an opset below {OPSET}; load it with hexaquant.load, which converts it")
    result = graph.clone()
    drop_fused(result, bypass)
    values = {v.name: v for v in result.values() if v.name}
    unknown = [n for n in encodings if n not in values]
    if unknown:
        raise EncodingError(unknown_names_message(unknown, set(values), "the encodings", graph.source))
    draft = _Draft(result.model.graph, set(values))
    for name, value in values.items():
        encoding = encodings.get(name)
        if encoding is None or encoding.grid.is_float:
            continue
        _check_fits(name, encoding, value)
        if value.is_initializer():
            _quantize_constant(draft, value, encoding, prequantize)
        else:
            _quantize_activation(draft, value, encoding, native_io)
    draft.finish()
    _join_converts(result)
    return result


@dataclass
class _Draft:
    """The graph being written: taken names, and nodes to put before all others."""

    graph: oir.Graph
    taken: set[str]
    head: list[oir.Node] = field(default_factory=list)

    def name(self, base: str) -> str:
        while base in self.taken:
            base += "_"
        self.taken.add(base)
        return base

    def constant(self, base: str, array: storage.Array) -> oir.Value:
        """A new initializer."""
        name = self.name(base)
        tensor = storage.tensor_of(array, name)
        value = oir.Value(
            name=name, shape=oir.Shape(array.shape), type=oir.TensorType(tensor.dtype), const_value=tensor
        )
        self.graph.register_initializer(value)
        return value

    def node(self, op_type: str, inputs: list[oir.Value], params: _Params, output: str) -> oir.Node:
        """A Q or DQ node on ``inputs[0]``; its single output is called ``output`` and typed."""
        node = oir.node(op_type, [*inputs, params.scale, params.zero_point], params.attributes)
        node.name = f"{output}/{op_type}"
        value = node.outputs[0]
        dtype = params.zero_point.dtype or oir.DataType.UINT8
        value.name = output
        value.type = oir.TensorType(dtype if op_type == "QuantizeLinear" else oir.DataType.FLOAT)
        value.shape = None if inputs[0].shape is None else inputs[0].shape.copy()
        return node

    def finish(self) -> None:
        """Place the nodes on inputs and constants before the first node that was there."""
        first = next(iter(self.graph), None)
        if first is None:
            self.graph.extend(self.head)
        else:
            self.graph.insert_before(first, self.head)


@dataclass(frozen=True)
class _Params:
    """Scale, zero point and attributes of a Q/DQ pair. ``nodes``: what computes the scale (LPBQ)."""

    scale: oir.Value
    zero_point: oir.Value
    attributes: dict[str, int]
    metadata: dict[str, str]
    nodes: tuple[oir.Node, ...] = ()


def _join_converts(graph: Graph) -> None:
    """Turn the plan's convert nodes (sim.converts) into a DQ straight into a Q of the other type.

    After a float operator the Identity stays: DQ, operator, Q in a row would be run in integers again. So it does
    after a float input, of which a Q straight behind it would be read as its encoding.
    """
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else None
        output = node.outputs[0]
        if CONVERT not in node.metadata_props or source is None or output.is_graph_output():
            continue
        if any(use.node.op_type != "QuantizeLinear" for use in output.uses()):
            continue
        producer = source.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            continue
        output.replace_all_uses_with(source)
        graph.model.graph.remove(node, safe=True)


def _check_fits(name: str, encoding: Encoding, value: oir.Value) -> None:
    if value.dtype is not None and value.dtype != oir.DataType.FLOAT:
        raise EncodingError(f"'{name}' is {value.dtype.name}, not float32; remove its encoding")
    shape = shape_of(value)
    if shape is None or not all(isinstance(d, int) for d in shape):
        return
    try:
        encoding.expanded(tuple(int(str(d)) for d in shape))
    except (EncodingError, IndexError, RuntimeError) as error:
        raise EncodingError(f"the encoding of '{name}' does not fit its shape {shape}: {error}") from None


def _dims(value: oir.Value) -> tuple[int, ...]:
    """Shape with -1 for dims that are not static; empty when the rank is unknown."""
    return tuple(d if isinstance(d, int) else -1 for d in shape_of(value) or ())


def _params(draft: _Draft, name: str, encoding: Encoding, shape: tuple[int, ...]) -> _Params:
    layout = encoding.grid.granularity
    zero = storage.zero_point(encoding, name)
    metadata = {TENSOR: name, SYMMETRIC: str(int(encoding.grid.symmetric))}
    if isinstance(layout, PerBlock | Lpbq):
        return _block_params(draft, name, encoding, layout, shape, metadata)
    attributes = {"axis": layout.axis % max(len(shape), 1)} if isinstance(layout, PerChannel) else {}
    scale = draft.constant(f"{name}_scale", encoding.scale.float().numpy())
    return _Params(scale, draft.constant(f"{name}_zero_point", zero), attributes, metadata)


def _block_params(
    draft: _Draft,
    name: str,
    encoding: Encoding,
    layout: PerBlock | Lpbq,
    shape: tuple[int, ...],
    metadata: dict[str, str],
) -> _Params:
    kind = storage.numpy_type(encoding.grid, name)
    attributes = {"axis": layout.axis % len(shape), "block_size": layout.block_size}
    metadata = metadata | {CHANNEL_AXIS: str(layout.channel_axis % len(shape))}
    if isinstance(layout, PerBlock):
        rows = storage.zero_point(encoding, name).astype(np.float32)
        zero = storage.full_rank(torch.from_numpy(rows), layout, shape).astype(kind)
        scale = draft.constant(f"{name}_scale", storage.full_rank(encoding.scale.float(), layout, shape))
        return _Params(scale, draft.constant(f"{name}_zero_point", zero), attributes, metadata)
    scale_node, ints = _lpbq_scale(draft, name, encoding, layout, shape)
    zero_point = draft.constant(f"{name}_zero_point", np.zeros(ints.shape, kind))
    metadata[DECOMPRESSED_BITS] = str(layout.decompressed_bits)
    return _Params(scale_node.outputs[0], zero_point, attributes, metadata, (scale_node,))


def _lpbq_scale(
    draft: _Draft, name: str, encoding: Encoding, layout: Lpbq, shape: tuple[int, ...]
) -> tuple[oir.Node, storage.Array]:
    """The DQ node that computes per-block scales from uint8 integers and a float scale per channel."""
    if encoding.block_scale is None or not encoding.grid.symmetric or not encoding.grid.signed:
        raise EncodingError(f"'{name}': LPBQ needs block scales and a signed symmetric grid")
    ints = storage.full_rank(encoding.block_scale, layout, shape).astype(np.uint8)
    scale = draft.constant(f"{name}_meta_scale", encoding.scale.float().numpy())
    zero = draft.constant(f"{name}_meta_zero_point", np.zeros(encoding.scale.shape, np.uint8))
    params = _Params(scale, zero, {"axis": layout.channel_axis % len(shape)}, {})
    ints_value = draft.constant(f"{name}_scale_q", ints)
    return draft.node("DequantizeLinear", [ints_value], params, draft.name(f"{name}_scale")), ints


def _quantize_constant(draft: _Draft, value: oir.Value, encoding: Encoding, prequantize: bool) -> None:
    """Put DQ (on integers) or Q + DQ between the initializer ``value`` and its consumers."""
    data = constant(value)
    name = value.name or ""
    if data is None:
        raise EncodingError(f"parameter '{name}' has no data; load the model with its external data")
    is_output = value.is_graph_output()
    as_integers = prequantize or encoding.grid.bits == 32
    params = _params(draft, name, encoding, data.shape)
    if is_output and not as_integers:
        raise EncodingError(f"parameter '{name}' is a graph output; export it with prequantize=True")
    if as_integers:
        q = draft.constant(f"{name}_q", storage.stored(encoding, data, name))
        nodes: list[oir.Node] = []
    else:
        quantize = draft.node("QuantizeLinear", [value], params, draft.name(f"{name}_q"))
        q = quantize.outputs[0]
        nodes = [quantize]
    dequantize = draft.node("DequantizeLinear", [q], params, name if is_output else draft.name(f"{name}_qdq"))
    dequantize.metadata_props.update(params.metadata)
    _redirect(value, dequantize.outputs[0], keep=nodes)
    if as_integers:
        draft.graph.initializers.pop(name)
    draft.head += [*params.nodes, *nodes, dequantize]


def _quantize_activation(draft: _Draft, value: oir.Value, encoding: Encoding, native_io: bool) -> None:
    """Put Q + DQ right after ``value`` is produced; a graph output keeps its name on the last value."""
    name = value.name or ""
    if encoding.grid.bits > 16:
        raise EncodingError(f"activation '{name}' has {encoding.grid.bits} bits; activations have at most 16")
    params = _params(draft, name, encoding, _dims(value))
    producer = value.producer()
    if producer is None and native_io:
        _native_input(draft, value, params)
        return
    is_output = value.is_graph_output() and producer is not None
    if is_output:
        value.name = draft.name(f"{name}_float")
    native_output = is_output and native_io
    quantize = draft.node("QuantizeLinear", [value], params, name if native_output else draft.name(f"{name}_q"))
    q = quantize.outputs[0]
    last = draft.name(f"{name}_qdq") if native_output or not is_output else name
    dequantize = draft.node("DequantizeLinear", [q], params, last)
    dequantize.metadata_props.update(params.metadata)
    if native_output:
        _replace_outputs(draft.graph, value, q)
    _redirect(value, dequantize.outputs[0], keep=[quantize], outputs=producer is not None)
    nodes = [quantize] if native_output and not dequantize.outputs[0].uses() else [quantize, dequantize]
    if len(nodes) == 1:
        quantize.metadata_props.update(params.metadata)
        dequantize.replace_input_with(0, None)
    if producer is None:
        draft.head += nodes
    else:
        draft.graph.insert_after(producer, nodes)


def _native_input(draft: _Draft, value: oir.Value, params: _Params) -> None:
    """Make the graph input itself the integers."""
    dequantize = draft.node("DequantizeLinear", [value], params, draft.name(f"{value.name}_qdq"))
    dequantize.metadata_props.update(params.metadata)
    value.type = oir.TensorType(params.zero_point.dtype or oir.DataType.UINT8)
    _redirect(value, dequantize.outputs[0], keep=[dequantize], outputs=False)
    draft.head.append(dequantize)


def _redirect(value: oir.Value, replacement: oir.Value, keep: list[oir.Node], outputs: bool = True) -> None:
    """Let every consumer of ``value`` but the nodes ``keep`` read ``replacement``, and the graph's outputs too."""
    for node, index in list(value.uses()):
        if node not in keep:
            node.replace_input_with(index, replacement)
    if outputs and value.graph is not None and value.is_graph_output():
        _replace_outputs(value.graph, value, replacement)


def _replace_outputs(graph: oir.Graph | None, value: oir.Value, replacement: oir.Value) -> None:
    assert graph is not None
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = replacement
