"""A context binary as an ONNX file that onnxruntime's QNN execution provider loads: ``model.sm8650.ctx.onnx``.

QuantizeLinear -> EPContext -> DequantizeLinear: float inputs and outputs under the network's names, the encodings those
in the binary, which stays a file of its own beside (onnxruntime, "EP context cache model design":
https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html). The provider finds the graph by the node's
name, tensors by theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as oir

from hexaquant.core.atomic import atomic_path
from hexaquant.folder.manifest import IoNames, recorded_io
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.records import BinaryInfo, GraphRecord
from hexaquant.qnn.tensor_io import TensorSpec, ordered_specs

DOMAIN = "com.microsoft"
SOURCE = "QNNExecutionProvider"
OPSET = 21
IR_VERSION = 10
"""Of the ONNX file: the first with opset 21, which every onnxruntime that has the provider reads."""


def context_file(binary: Path, graph: str | None = None) -> Path:
    """model.sm8650.bin -> model.sm8650.ctx.onnx; of one of several graphs model.sm8650.GRAPH.ctx.onnx."""
    return binary.with_name(f"{binary.stem}{'' if graph is None else f'.{graph}'}.ctx.onnx")


def write_ep_context(
    binary: Path, info: BinaryInfo | None = None, *, io: IoNames | None = None, integers: bool = False
) -> tuple[Path, ...]:
    """Write an ONNX file for each graph of ``binary`` beside it, and return them.

    ``info``: the binary's metadata, where they are known already; ``io``: names of inputs and outputs, default those in
    the manifest beside; ``integers``: inputs and outputs are the stored integers, without quantize nodes. Raises
    InputError for a file that is no context binary.
    """
    known = info or inspect_binary(binary)
    written = []
    for graph in known.graphs:
        path = context_file(binary, None if len(known.graphs) == 1 else graph.name)
        names = io or recorded_io(binary, graph.name) or {}
        model = _model(binary.name, known, graph, names, integers)
        with atomic_path(path) as temporary:
            oir.save(model, temporary)
        written.append(path)
    return tuple(written)


@dataclass(frozen=True)
class _End:
    """An input or output. ``user``: the value that the ONNX file has, ``held``: the one at the border of the binary,
    which may be the same; ``constants``: what the node between them needs."""

    spec: TensorSpec
    user: oir.Value
    held: oir.Value
    constants: tuple[oir.Value, ...] = ()

    @property
    def binary_name(self) -> str:
        return self.spec.lowered or self.spec.name

    def nodes(self, *, inward: bool) -> list[oir.Node]:
        """The node between the user's float32 and what the binary stores; none where these are the same."""
        if self.user is self.held:
            return []
        source, result = (self.user, self.held) if inward else (self.held, self.user)
        if self.constants:
            kind = "QuantizeLinear" if inward else "DequantizeLinear"
            return [oir.Node("", kind, [source, *self.constants], outputs=[result])]
        to = oir.DataType.FLOAT16 if inward else oir.DataType.FLOAT
        return [oir.Node("", "Cast", [source], [oir.AttrInt64("to", int(to))], outputs=[result])]


def _end(spec: TensorSpec, integers: bool) -> _End:
    dtype = np.dtype(spec.dtype)
    shape = oir.Shape(spec.shape)
    stored = oir.TensorType(oir.DataType.from_numpy(dtype))
    if integers or (spec.scale is None and dtype != np.float16):
        value = oir.Value(name=spec.name, type=stored, shape=shape)
        return _End(spec, value, value)
    held = oir.Value(name=f"{spec.name}_stored", type=stored, shape=shape)
    user = oir.Value(name=spec.name, type=oir.TensorType(oir.DataType.FLOAT), shape=shape)
    if spec.scale is None:
        return _End(spec, user, held)
    scale = _constant(f"{spec.name}_scale", np.array(spec.scale, np.float32))
    return _End(spec, user, held, (scale, _constant(f"{spec.name}_zero_point", np.array(-spec.offset, dtype))))


def _constant(name: str, array: np.ndarray) -> oir.Value:
    return oir.Value(name=name, const_value=oir.tensor(array, name=name))


def _model(binary: str, info: BinaryInfo, graph: GraphRecord, io: IoNames, integers: bool) -> oir.Model:
    inputs = [_end(spec, integers) for spec in ordered_specs(graph.inputs, io.get("inputs", ()))]
    outputs = [_end(spec, integers) for spec in ordered_specs(graph.outputs, io.get("outputs", ()))]
    context = oir.Node(
        DOMAIN,
        "EPContext",
        [end.held for end in inputs],
        _attributes(binary, info, graph, [*inputs, *outputs]),
        outputs=[end.held for end in outputs],
        name=graph.name,
    )
    before = [node for end in inputs for node in end.nodes(inward=True)]
    behind = [node for end in outputs for node in end.nodes(inward=False)]
    made = oir.Graph(
        [end.user for end in inputs],
        [end.user for end in outputs],
        nodes=[*before, context, *behind],
        initializers=[value for end in (*inputs, *outputs) for value in end.constants],
        name=graph.name,
        opset_imports={"": OPSET, DOMAIN: 1},
    )
    return oir.Model(made, ir_version=IR_VERSION, producer_name="hexaquant")


def _attributes(binary: str, info: BinaryInfo, graph: GraphRecord, ends: Sequence[_End]) -> list[oir.Attr]:
    """``io_name_overrides``: name in this file=name in the binary;... (onnxruntime-qnn, pull request 544)."""
    renamed = "".join(f"{end.held.name}={end.binary_name};" for end in ends if end.held.name != end.binary_name)
    texts = {
        "ep_cache_context": binary,
        "ep_sdk_version": info.build_id,
        "io_name_overrides": renamed,
        "partition_name": graph.name,
        "source": SOURCE,
    }
    numbers = {"embed_mode": 0, "main_context": 1, "max_size": 0}
    found = [oir.AttrString(name, text) for name, text in texts.items() if text]
    return found + [oir.AttrInt64(name, number) for name, number in numbers.items()]
