"""Turn a Graph into a ``torch.fx.GraphModule`` with the same names, gradients and a free batch size."""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as oir
from torch import Tensor, fx, nn

from hexaquant.core.errors import InputError, UnsupportedOpError
from hexaquant.ir.executor import literal
from hexaquant.ir.executor.ops import host
from hexaquant.ir.executor.ops.shape import identity
from hexaquant.ir.executor.table import OPS, OpSpec, lookup
from hexaquant.ir.graph import Graph, constant

# The tracer that fx uses when it unpickles an executed graph: operator functions stay opaque.


class OperatorTracer(fx.Tracer):
    """Records each operator function as one call instead of looking into it."""

    def __init__(self) -> None:
        own = (identity, host.constant, host.to_device_of)
        super().__init__(autowrap_functions=(*own, *(spec.fn for spec in OPS.values())))


# ONNX names as Python attribute paths and identifiers, uniquely and reversibly (the maps keep the originals).

_RESERVED = set(dir(nn.Module()))
_RESERVED_AT_TOP = set(dir(fx.GraphModule)) | {"taps", "_graph", "_code", "meta"}


def is_module_parameter(name: str) -> bool:
    """True for a name as PyTorch gives to a submodule's parameter: "blocks.0.scale", not "val_3" or "/l.1/Constant"."""
    return re.fullmatch(r"\w+(\.\w+)+", name) is not None


def identifier(name: str, taken: set[str]) -> str:
    """A Python identifier for ``name`` that is not in ``taken``; adds it there."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if word[0].isdigit() or keyword.iskeyword(word):
        word = "_" + word
    return _unique(word, taken)


def attribute_path(name: str, taken: dict[str, bool]) -> str:
    """A dotted path for parameter ``name``: the name itself unless torch cannot hold it.

    ``taken`` maps each path in use to True for tensors and False for containers, and is extended.
    """
    parts = [_attribute(part, _RESERVED) for part in name.split(".")]
    parts[0] = _attribute(parts[0], _RESERVED_AT_TOP)
    while not _free(parts, taken):
        parts[-1] += "_"
    for i in range(1, len(parts)):
        taken[".".join(parts[:i])] = False
    path = ".".join(parts)
    taken[path] = True
    return path


def _attribute(part: str, reserved: set[str]) -> str:
    clean = re.sub(r"[\"'\\\s]", "_", part) or "_"
    return clean + "_" if clean in reserved else clean


def _free(parts: list[str], taken: dict[str, bool]) -> bool:
    """True when the whole path is unused; renames containers that collide with a tensor."""
    for i in range(1, len(parts)):
        while taken.get(".".join(parts[:i])):
            parts[i - 1] += "_"
    return ".".join(parts) not in taken


def _unique(word: str, taken: set[str]) -> str:
    candidate = word
    count = 1
    while candidate in taken:
        candidate = f"{word}_{count}"
        count = count + 1
    taken.add(candidate)
    return candidate


_HOST_SOURCES = {"Shape", "Size"}
_HOST_MAKERS = {"ConstantOfShape", "Range"}
_HOST_LIMIT = 1024
"""Constants of more elements than this are data, not shape arithmetic."""


def build_module(
    graph: Graph, taps: Mapping[str, nn.Module] | None = None, bypass: Collection[str] = (), share: bool = False
) -> fx.GraphModule:
    """The module that computes ``graph`` (normalized: opset 21, constants as initializers).

    Each value named in ``taps`` (activation, graph input or float initializer) passes through its module
    right after it is produced; all consumers and graph outputs see the result. Nodes named in ``bypass``
    return their first input. ``forward`` takes the graph inputs in order (or by their sanitised names)
    and returns a Tensor for one output, else a tuple. With ``share`` the weights are the graph's own memory: for a
    module that is run and never changed.

    Float initializers become parameters whose state_dict keys are their ONNX names, other ones buffers or
    Python numbers. Untapped constants of rank 0 become Python numbers too, unless they are named like a
    submodule's parameter ("block.scale"): those are learned.

    ``meta`` of the module holds the maps ``parameter_names`` (attribute path -> ONNX name),
    ``tap_names`` (submodule path -> value name), ``input_names`` (argument -> value name) and ``output_names``.
    Each fx node has ``meta["value"]`` (the value it produces, after its tap), ``meta["untapped"]`` (the value
    before its tap), and, for operators, ``meta["node"]``, ``meta["op_type"]`` and ``meta["origin"]``.

    Raises UnsupportedOpError naming the operator and its layer when the table has no entry for it.
    """
    builder = _Builder(graph, taps or {}, frozenset(bypass), share)
    builder.emit_inputs()
    for node in graph.nodes:
        builder.emit_node(node)
    return builder.finish()


class _Builder:
    """The state of one build: the fx graph under construction and the fx node of each value."""

    def __init__(self, graph: Graph, taps: Mapping[str, nn.Module], bypass: frozenset[str], share: bool) -> None:
        self.graph = graph
        self.taps = taps
        self.bypass = bypass
        self.share = share
        self.fx = fx.Graph(tracer_cls=OperatorTracer)
        self.root = nn.Module()
        self.tapped = nn.Module()
        self.tap_keys = set(dir(self.tapped))
        self.env: dict[str, fx.Node] = {}
        self.on_host: set[str] = set()
        self.constants: dict[str, np.ndarray] = {}
        self.paths: dict[str, bool] = {}
        self.identifiers: set[str] = {"self"}
        self.frozen = _frozen_initializers(graph)
        self.meta: dict[str, Any] = {"parameter_names": {}, "tap_names": {}, "input_names": {}}

    def emit_inputs(self) -> None:
        for value in self.graph.inputs:
            argument = identifier(_name(value), self.identifiers)
            self.meta["input_names"][argument] = _name(value)
            self.define(_name(value), self.fx.placeholder(argument))

    def emit_node(self, node: oir.Node) -> None:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            self.constants[_name(node.outputs[0])] = literal.constant_node_data(node)
            return
        spec = lookup(node)
        if spec is None:
            raise UnsupportedOpError(_unsupported(node, self.graph))
        if node.name in self.bypass:
            source = self.value(node.inputs[0])
            self.define(_name(node.outputs[0]), self.call(identity, (source,), {}, node), node)
            return
        hosted = self.runs_on_host(node)
        kwargs = literal.attributes(node)
        if spec.extra is not None:
            kwargs |= spec.extra(node)
        args = self.arguments(node, spec, hosted)
        if spec.multi:
            kwargs["n_outputs"] = len(node.outputs)
        result = self.call(spec.fn, args, kwargs, node)
        for i, output in enumerate(node.outputs):
            if not output.name:
                continue
            part = self.call(operator.getitem, (result, i), {}, node) if spec.multi else result
            self.define(output.name, part, node)
            if hosted:
                self.on_host.add(output.name)

    def call(self, fn: Any, args: tuple, kwargs: dict[str, Any], node: oir.Node) -> fx.Node:
        made = self.fx.call_function(fn, args, kwargs)
        made.meta |= {"node": node.name, "op_type": node.op_type, "origin": str(self.graph.origin(node))}
        return made

    def define(self, name: str, made: fx.Node, node: oir.Node | None = None) -> None:
        """Record ``made`` as the producer of value ``name``, through its tap if it has one."""
        tap = self.taps.get(name)
        if tap is not None:
            made.meta["untapped"] = name
            made = self.fx.call_module(self.add_tap(name, tap), (made,))
            if node is not None:
                made.meta["origin"] = str(self.graph.origin(node))
        made.meta["value"] = name
        self.env[name] = made

    def add_tap(self, name: str, tap: nn.Module) -> str:
        key = identifier(name, self.tap_keys)
        self.tapped.add_module(key, tap)
        self.meta["tap_names"][f"taps.{key}"] = name
        return f"taps.{key}"

    def constant(self, value: oir.Value | None) -> np.ndarray | None:
        """Data of a constant that is free to become Python numbers: one without a tap."""
        if value is None or not value.name or value.name in self.taps:
            return None
        data = self.constants.get(value.name)
        return constant(value) if data is None else data

    def runs_on_host(self, node: oir.Node) -> bool:
        """True for shape arithmetic: its operands are shapes and small constants, so it stays off the device."""
        if node.op_type in _HOST_SOURCES:
            return True
        seen_host = node.op_type in _HOST_MAKERS
        for value in node.inputs:
            if value is None or not value.name:
                continue
            if value.name in self.on_host:
                seen_host = True
                continue
            data = self.constant(value)
            if data is None or data.size > _HOST_LIMIT:
                return False
        return seen_host

    def arguments(self, node: oir.Node, spec: OpSpec, hosted: bool) -> tuple[Any, ...]:
        inputs = list(node.inputs)
        while inputs and (inputs[-1] is None or not inputs[-1].name):
            inputs.pop()
        data = [self.constant(v) for v in inputs]
        scalars = spec.scalars and any(v is not None and d is None for v, d in zip(inputs, data))
        args: list[Any] = []
        for i, (value, known) in enumerate(zip(inputs, data)):
            if value is None or not value.name:
                args.append(None)
            elif known is not None and (
                i in spec.static or (scalars and known.ndim == 0 and not is_module_parameter(value.name))
            ):
                args.append(literal.as_python(known))
            elif known is not None and hosted:
                args.append(
                    self.fx.call_function(host.constant, (literal.as_python(known), literal.torch_dtype(value, known)))
                )
            else:
                args.append(self.value(value))
        return tuple(args) if hosted else self.moved(inputs, args, spec)

    def moved(self, inputs: list[oir.Value | None], args: list[Any], spec: OpSpec) -> tuple[Any, ...]:
        """``args`` with host tensors brought to the device of the first other tensor, except at static positions."""
        hosted = [v is not None and v.name in self.on_host for v in inputs]
        reference = next((a for a, h in zip(args, hosted) if isinstance(a, fx.Node) and not h), None)
        if reference is None:
            return tuple(args)
        for i, on_host in enumerate(hosted):
            if on_host and i not in spec.static:
                args[i] = self.fx.call_function(host.to_device_of, (args[i], reference))
        return tuple(args)

    def value(self, value: oir.Value | None) -> fx.Node:
        """The fx node of ``value``; an initializer is fetched (and tapped) where it is first used."""
        name = _name(value)
        if name not in self.env:
            data = self.constants.get(name)
            data = constant(value) if data is None else data
            if data is None or value is None:
                raise UnsupportedOpError(f"tensor '{name}' of {self.graph.source} has neither a producer nor data")
            tensor = literal.torch_tensor(data, value.dtype, self.share)
            self.define(name, self.fx.get_attr(self.add_tensor(name, tensor)))
        return self.env[name]

    def add_tensor(self, name: str, tensor: Tensor) -> str:
        path = attribute_path(name, self.paths)
        *parents, leaf = path.split(".")
        holder: Any = self.root
        for part in parents:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        if tensor.is_floating_point():
            holder.register_parameter(leaf, nn.Parameter(tensor, requires_grad=name not in self.frozen))
        else:
            holder.register_buffer(leaf, tensor)
        self.meta["parameter_names"][path] = name
        return path

    def finish(self) -> fx.GraphModule:
        outputs = [self.value(v) for v in self.graph.outputs]
        self.fx.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        self.root.add_module("taps", self.tapped)
        module = fx.GraphModule(self.root, self.fx, class_name="ExecutedGraph")
        module.meta.update(self.meta, output_names=[_name(v) for v in self.graph.outputs])
        return module


def _name(value: oir.Value | None) -> str:
    """The name of a value that must be there."""
    if value is None or not value.name:
        raise InputError("a node of the graph lacks a required input: check the model with onnx.checker")
    return value.name


def _frozen_initializers(graph: Graph) -> frozenset[str]:
    """Names of initializers that some operator takes at a position that is never trained."""
    uses = ((node, lookup(node)) for node in graph.nodes)
    return frozenset(
        node.inputs[i].name  # type: ignore[union-attr,misc]
        for node, spec in uses
        if spec is not None
        for i in spec.frozen
        if i < len(node.inputs) and node.inputs[i] is not None
    )


def _unsupported(node: oir.Node, graph: Graph) -> str:
    domain = f"{node.domain}." if node.domain else ""
    return (
        f"the executor does not know operator {domain}{node.op_type} of {graph.origin(node)}: "
        "add a function for it under hexaquant/ir/executor/ops and an entry to hexaquant/ir/executor/table.py"
    )
