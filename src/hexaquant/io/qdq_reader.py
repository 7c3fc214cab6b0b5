"""QDQ ONNX -> float graph + encodings: ours, AIMET's (torch and onnx) and onnxruntime's.

1. A DequantizeLinear on an integer initializer becomes a float initializer of the dequantized values.
2. A Q + DQ pair is removed and its encoding given to the tensor before it.
3. A DQ on an integer graph input or a Q into a graph output makes that input or output float.
4. A pair whose input has another encoding (a conversion 8 to 16 bits) or other readers becomes an Identity, marked as
   the plan's convert nodes are, whose output carries the encoding.
5. A DQ that computes another one's scale is LPBQ.

Names come from our metadata, else from ``v_q`` / ``v_quantized``, else from the tensor before the pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock
from hexaquant.io import onnx_storage as storage
from hexaquant.io.qdq_writer import CHANNEL_AXIS, DECOMPRESSED_BITS, SYMMETRIC, TENSOR
from hexaquant.ir.graph import CONVERT, Graph, constant, shape_of

Q = "QuantizeLinear"
DQ = "DequantizeLinear"
SUFFIXES = ("_q", "_quantized")
"""What AIMET, hexaquant and onnxruntime append to a tensor's name for its integers."""


def from_qdq(graph: Graph) -> tuple[Graph, dict[str, Encoding]]:
    """The float graph and the encoding of each tensor that had Q/DQ nodes; ``graph`` is left as it was.

    Raises InputError naming the node when a scale is computed at run time or integers pass through other ops.
    """
    result = graph.clone()
    reader = _Reader(result, {v.name for v in result.values() if v.name})
    scales = _scale_nodes(result)
    for node in result.nodes:
        if node.op_type == DQ and node not in scales:
            reader.read_dequantize(node)
    reader.read_native_outputs()
    reader.clean(scales)
    encodings = {value.name or "": encoding for value, encoding in reader.found.items()}
    order = [v.name for v in result.values() if v.name in encodings]
    return result, {name: encodings[name] for name in order if name}


def is_qdq(graph: Graph) -> bool:
    """True when ``graph`` has Q or DQ nodes."""
    return any(node.op_type in (Q, DQ) for node in graph.nodes)


def _scale_nodes(graph: Graph) -> set[oir.Node]:
    """DQ nodes whose output is the scale of another Q or DQ node."""
    nodes = set()
    for node in graph.nodes:
        scale = node.inputs[1].producer() if node.op_type in (Q, DQ) and node.inputs[1] is not None else None
        if scale is not None and scale.op_type == DQ:
            nodes.add(scale)
    return nodes


@dataclass
class _Reader:
    graph: Graph
    taken: set[str]
    found: dict[oir.Value, Encoding] = field(default_factory=dict)
    pairs: dict[oir.Value, oir.Value] = field(default_factory=dict)

    @property
    def _onnx(self) -> oir.Graph:
        return self.graph.model.graph

    def read_dequantize(self, node: oir.Node) -> None:
        """Undo one DQ node."""
        integers = node.inputs[0]
        if integers is None:
            raise InputError(f"{self.graph.source}: node '{node.name}' has no input; export the model again")
        quantize = integers.producer()
        if constant(integers) is not None:
            tensor = self._restore_constant(node, integers)
        elif quantize is not None and quantize.op_type == Q and quantize.inputs[0] is not None:
            tensor = self._source_of_pair(node, quantize, quantize.inputs[0])
        elif integers.is_graph_input():
            tensor = integers
            tensor.type = oir.TensorType(oir.DataType.FLOAT)
            self.found[tensor] = read_encoding(node, integers, self.graph.source)
        else:
            raise InputError(
                f"{self.graph.source}: '{node.name}' dequantizes '{integers.name}', which is neither quantized just "
                "before nor constant; only QDQ models are supported, not integer operators"
            )
        self._replace(node, tensor)

    def _restore_constant(self, node: oir.Node, integers: oir.Value) -> oir.Value:
        """A float initializer with the values that ``node`` computes from the integer initializer."""
        data = constant(integers)
        scale, zero, axis, block = _numbers(node, self.graph.source)
        where = f"{self.graph.source}: '{node.name}'"
        storage.check_layout(where, np.asarray(data).shape, scale, zero, axis, block)
        values = storage.restored(np.asarray(data), scale, zero, axis, block)
        output = node.outputs[0]
        if output.is_graph_output():
            name = output.name or ""
            output.name = None
        else:
            name = self._free(_name_of(node, integers, None))
        tensor = storage.tensor_of(values, name)
        value = oir.Value(
            name=name, shape=oir.Shape(values.shape), type=oir.TensorType(tensor.dtype), const_value=tensor
        )
        self._onnx.register_initializer(value)
        self.found[value] = read_encoding(node, integers, self.graph.source)
        return value

    def _source_of_pair(self, node: oir.Node, quantize: oir.Node, source: oir.Value) -> oir.Value:
        """The float tensor before the pair, or an Identity of it where it has another encoding or float readers."""
        integers = quantize.outputs[0]
        if integers in self.pairs:
            return self.pairs[integers]
        encoding = read_encoding(node, integers, self.graph.source)
        known = self.found.get(source)
        shared = known is None and (source.is_graph_output() or any(u.node.op_type != Q for u in source.uses()))
        if not shared and (known is None or known.same_as(encoding)):
            self.pairs[integers] = source
            self.found[source] = encoding
            return source
        self.pairs[integers] = self._convert(quantize, source, encoding, _name_of(node, integers, source))
        return self.pairs[integers]

    def _convert(self, quantize: oir.Node, source: oir.Value, encoding: Encoding, name: str) -> oir.Value:
        """An Identity of ``source``, marked as a convert, that carries ``encoding``."""
        kind = "symmetric" if encoding.grid.symmetric else "asymmetric"
        identity = oir.node("Identity", [source], name=f"{name}_convert")
        identity.metadata_props[CONVERT] = f"{kind}:{encoding.grid.bits}"
        value = identity.outputs[0]
        value.name = self._free(name)
        value.shape = source.shape
        value.dtype = oir.DataType.FLOAT
        self._onnx.insert_before(quantize, identity)
        self.found[value] = encoding
        return value

    def _replace(self, node: oir.Node, tensor: oir.Value) -> None:
        """Let consumers of ``node`` read ``tensor``; a graph output keeps the name that the user knows."""
        output = node.outputs[0]
        if not output.is_graph_output():
            output.replace_all_uses_with(tensor)
            self._onnx.remove(node, safe=True)
            return
        name = output.name
        shape = output.shape
        if tensor.name == name or (tensor.producer() is not None and not tensor.is_graph_output()):
            output.replace_all_uses_with(tensor, replace_graph_outputs=True)
            output.name = None
            tensor.name = name or tensor.name
            tensor.shape = tensor.shape or shape
            self._onnx.remove(node, safe=True)
            return
        identity = oir.node("Identity", [tensor], name=f"{node.name}_identity")
        identity.outputs[0].shape = shape
        identity.outputs[0].dtype = oir.DataType.FLOAT
        self._onnx.insert_before(node, identity)
        output.replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)
        output.name = None
        identity.outputs[0].name = name
        self._onnx.remove(node, safe=True)

    def read_native_outputs(self) -> None:
        """Make graph outputs that are integers float again."""
        for position, output in enumerate(list(self._onnx.outputs)):
            node = output.producer()
            if node is None or node.op_type != Q or node.inputs[0] is None:
                continue
            source = node.inputs[0]
            name = output.name
            if source.producer() is None or source.is_graph_output():
                raise InputError(f"{self.graph.source}: output '{name}' is an input or another output; keep one")
            self.found.setdefault(source, read_encoding(node, output, self.graph.source))
            self._onnx.outputs[position] = source
            output.name = None
            source.name = name

    def clean(self, scales: set[oir.Node]) -> None:
        """Remove Q and scale nodes that nothing reads any more, then the constants that only they read."""
        for node in [n for n in self.graph.nodes if n.op_type == Q or n in scales][::-1]:
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                self._onnx.remove(node, safe=True)
        for name, value in list(self._onnx.initializers.items()):
            if not value.uses() and not value.is_graph_output() and value not in self.found:
                self._onnx.initializers.pop(name)

    def _free(self, base: str) -> str:
        while base in self.taken:
            base += "_"
        self.taken.add(base)
        return base


def _name_of(node: oir.Node, integers: oir.Value, source: oir.Value | None) -> str:
    """The name of the float tensor behind ``integers``."""
    if TENSOR in node.metadata_props:
        return node.metadata_props[TENSOR]
    name = integers.name or ""
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return (source.name if source is not None else f"{name}_float") or name


def _numbers(node: oir.Node, source: str) -> tuple[storage.Array, storage.Array | None, int, int]:
    """(scale, zero point, axis, block size) of a Q or DQ node; an LPBQ scale is computed."""
    scale = constant(node.inputs[1])
    block = node.attributes["block_size"].as_int() if "block_size" in node.attributes else 0
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    if scale is None and producer is not None and producer.op_type == DQ:
        inner, zero, inner_axis, inner_block = _numbers(producer, source)
        ints = constant(producer.inputs[0])
        scale = None if ints is None else storage.restored(ints, inner, zero, inner_axis, inner_block)
    if scale is None:
        raise InputError(f"{source}: '{node.name}' computes its scale at run time; only static scales are supported")
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None and constant(zero_point) is None:
        raise InputError(f"{source}: '{node.name}' computes its zero point at run time; only static ones are supported")
    return scale, _zero_like(scale, constant(zero_point), f"{source}: '{node.name}'"), axis, block


def _zero_like(scale: storage.Array, zero: storage.Array | None, where: str) -> storage.Array | None:
    """The zero point, with as many elements as there are scales, or one for all."""
    if zero is None or zero.shape == scale.shape:
        return zero
    if zero.size != 1:
        raise EncodingError(f"{where}: zero points of shape {zero.shape} do not fit scales of shape {scale.shape}")
    return zero.reshape(())


def read_encoding(node: oir.Node, integers: oir.Value | None, source: str) -> Encoding:
    """The encoding that a Q or DQ node states; ``integers`` is its integer side. Raises EncodingError."""
    scale, zero, axis, block = _numbers(node, source)
    dtype = node.inputs[2].dtype if len(node.inputs) > 2 and node.inputs[2] is not None else None
    dtype = dtype or (integers.dtype if integers is not None else None) or oir.DataType.UINT8
    where = f"{source}: '{node.name}'"
    if dtype not in storage.GRIDS:
        raise EncodingError(f"{where} quantizes to {dtype.name}, which is not supported; use 4, 8 or 16 bits")
    bits, signed = storage.GRIDS[dtype]
    zero = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    stated = node.metadata_props.get(SYMMETRIC)
    symmetric = bool(int(stated)) if stated else signed and not zero.any()
    grid = Grid(bits, signed, symmetric)
    offset = (-zero - (2 ** (bits - 1) if signed else 0)).astype(np.float32)
    try:
        if block:
            return _blocked(node, grid, scale, offset, axis, block)
        shape = shape_of(integers) if integers is not None else None
        known = None if shape is None else tuple(d if isinstance(d, int) else -1 for d in shape)
        layout = storage.layout_of(scale, known, axis)
        stored = () if scale.size == 1 and scale.ndim <= 1 and not _is_axis(layout) else scale.shape
        return _encoding(grid, layout, scale.reshape(stored), np.broadcast_to(offset, scale.shape).reshape(stored))
    except EncodingError as error:
        raise EncodingError(f"{where}: {error}") from None


def _is_axis(layout: Granularity) -> bool:
    return hasattr(layout, "axis")


def _encoding(grid: Grid, layout: Granularity, scale: storage.Array, offset: storage.Array) -> Encoding:
    grid = Grid(grid.bits, grid.signed, grid.symmetric, layout)
    return Encoding(grid, torch.from_numpy(np.array(scale, np.float32)), torch.from_numpy(np.array(offset, np.float32)))


def _blocked(
    node: oir.Node, grid: Grid, scale: storage.Array, offset: storage.Array, axis: int, block: int
) -> Encoding:
    axis %= scale.ndim
    stated = node.metadata_props.get(CHANNEL_AXIS)
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    if producer is not None:
        return _lpbq(node, producer, grid, axis, block)
    rows, channel = storage.to_rows(scale, axis, int(stated) if stated else None)
    offsets, _ = storage.to_rows(np.broadcast_to(offset, scale.shape), axis, channel)
    grid = Grid(grid.bits, grid.signed, grid.symmetric, PerBlock(axis, block, channel))
    return Encoding(grid, rows, offsets)


def _lpbq(node: oir.Node, producer: oir.Node, grid: Grid, axis: int, block: int) -> Encoding:
    """LPBQ: the producer dequantizes integer block scales by a float scale per channel."""
    ints, (per_channel, _, channel, _) = constant(producer.inputs[0]), _numbers(producer, "")
    if ints is None or per_channel.ndim != 1:
        raise EncodingError("its computed scale is not that of an LPBQ weight (integers times a scale per channel)")
    rows, channel = storage.to_rows(ints.astype(np.float32), axis, channel % ints.ndim)
    bits = int(node.metadata_props.get(DECOMPRESSED_BITS, 2 * grid.bits))
    scale = torch.from_numpy(np.array(per_channel, np.float32))
    grid = Grid(grid.bits, grid.signed, True, Lpbq(axis, block, channel, bits))
    return Encoding(grid, scale, torch.full_like(scale, float(grid.symmetric_offset)), rows)
