"""A Keras model (PyTorch backend) exported as the nn.Module that it is, with the names of its layers and variables.

Every Keras layer becomes a named child of one module, so that the exporter records which layer an operator comes from;
parameters are those of the Keras variables ("block/conv/kernel"). Imports Keras, which must run on PyTorch.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as oir
import torch
from torch import nn

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_file import REMEDY, check_keras_file
from hexaquant.frontends.keras_forms import exportable_forms
from hexaquant.frontends.keras_signature import Shapes, input_signature, output_names, variable_names
from hexaquant.frontends.torch_module import causes, exported_graph, module_of, reason_of
from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import ORIGIN_MODULE, Graph

Names = Sequence[str]


class Network(nn.Module):
    """``model`` in inference mode, called with its inputs one by one; outputs as a flat tuple.

    ``layers``: for the name of each child the path of its Keras layer. Parameters have the names of their variables.
    """

    model: Any

    def __init__(self, model: Any, names: Names) -> None:
        super().__init__()
        paths = {id(layer): path for path, layer in layer_paths(model)}
        known: set[int] = set()
        for _, layer in layer_paths(model):
            if id(layer) not in known:
                self.add_module(f"layer{len(self._modules)}", layer)
                known.update(id(part) for part in layer.modules())
        self.layers = {name: paths[id(part)] for name, part in self.named_modules() if id(part) in paths}
        self.parameter_names = list(names)
        self.values = nn.ParameterList(v.value for _, v in variable_names(model))
        object.__setattr__(self, "model", model)  # as a child it would hold every layer a second time

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        import keras

        variables = [variable for _, variable in variable_names(self.model)]
        with keras.StatelessScope(state_mapping=list(zip(variables, list(self.values), strict=True))):
            outputs = self.model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return tuple(keras.tree.flatten(outputs))


def open_keras(path: Path) -> Any:
    """A ``.keras`` or ``.h5`` file, loaded without its training state. Raises InputError naming the layer."""
    import keras

    check_keras_file(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path.name}: Keras cannot load the model ({reason}); {REMEDY}") from error


def export_keras(
    model: Any,
    source: str,
    shapes: Shapes | None = None,
    examples: Sequence[Any] | None = None,
    parameters: Names | None = None,
) -> Graph:
    """The graph of ``model`` as PyTorch exports it; dimension 0 stays symbolic where the model allows it.

    ``examples``: arrays, needed where the model does not know its inputs (a subclassed model). ``parameters``: names
    for the model's variables in Keras' order instead of their own. Raises InputError naming the input or the layer.
    """
    names, specs = input_signature(model, source, shapes or {}, examples)
    network = Network(model, parameters or [name for name, _ in variable_names(model)])
    inputs = [_example(name, dims, str(dtype), source) for name, (dims, dtype) in zip(names, specs)]
    dynamic = all(dims and not isinstance(dims[0], int) for dims, _ in specs)
    try:
        with exportable_forms():
            raw = exported_graph(network, tuple(inputs), dynamic_batch=dynamic)
    except InputError as error:
        raise _in_words_of_keras(error, network, source) from error
    _name_layers(raw, network.layers)
    _name_parameters(raw, network.parameter_names)
    inner = raw.model.graph
    _rename(inner, inner.inputs, names)
    _rename(inner, inner.outputs, output_names(model, len(inner.outputs)))
    return Graph(raw.model, source)


def _in_words_of_keras(error: InputError, network: Network, source: str) -> InputError:
    """The error of PyTorch's exporter with the Keras layer where it arose, and what to do."""
    cause = error.__cause__ or error
    found = next((path for path in _raised_in(cause, network) if path in network.layers), "")
    if not found:
        return InputError(str(error).replace(f"{type(network).__name__}:", f"{source}:", 1))
    kind = type(network.get_submodule(found)).__name__
    return InputError(
        f"{source}: layer '{network.layers[found]}' ({kind}) has no static graph: {reason_of(cause)}; compute it "
        "on the host, before or after the network, or write it with other layers"
    )


def _raised_in(error: BaseException, network: Network) -> Iterator[str]:
    """Paths of the submodules that were being traced, or whose operator was being translated, the innermost first."""
    for cause in causes(error):
        if path := module_of(network, cause):
            yield path
        for frame, _ in reversed(list(traceback.walk_tb(cause.__traceback__))):
            stack = getattr(frame.f_locals.get("node"), "meta", {}).get("nn_module_stack", {})
            yield from (path for path, _ in reversed(list(stack.values())))


def layer_paths(model: Any) -> Iterator[tuple[str, Any]]:
    """("block/conv", layer) of every layer of ``model``, outer ones first."""
    pending = [("", model)]
    while pending:
        path, layer = pending.pop(0)
        for child in getattr(layer, "_layers", ()):
            inner = f"{path}/{child.name}" if path else str(child.name)
            yield inner, child
            pending.append((inner, child))


def _example(name: str, dims: Sequence[int | None], dtype: str, source: str) -> torch.Tensor:
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise InputError(f"{source}: input '{name}' takes {dtype}, which the target has no type for; start after it")
    return torch.ones([1 if d is None else int(d) for d in dims], dtype=kind)


def _name_layers(raw: Graph, paths: Mapping[str, str]) -> None:
    """The Keras layer of each operator as its origin."""
    for node in raw.nodes:
        found = node.metadata_props.pop(ORIGIN_MODULE, "")
        if found in paths:
            node.metadata_props[ORIGIN_MODULE] = paths[found]


def _name_parameters(raw: Graph, names: Names) -> None:
    """Initializers called as the Keras variables."""
    initializers = raw.model.graph.initializers
    for index, name in enumerate(names):
        value = initializers.get(f"values.{index}")
        if value is not None and name not in initializers:
            value.name = name


def _rename(graph: oir.Graph, values: Sequence[oir.Value], names: Names) -> None:
    """Call ``values`` by ``names``; what has such a name in ``graph`` already gets a number."""
    inner = {v.name: v for node in graph for v in node.outputs}
    for value, name in zip(list(values), names):
        other = inner.get(name)
        if other is not None and other is not value:
            other.name = unique_name(name, taken_names(graph))
        value.name = name
