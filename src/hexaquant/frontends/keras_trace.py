"""A Keras model (TensorFlow backend, or tf_keras) traced to a frozen TensorFlow graph whose parameters have names.

The variables do not become constants but placeholders called as the Keras variables ("conv1/kernel"): the converter
can neither fold nor rename them, and they end as initializers under these names. Imports TensorFlow, so it is only
called in the converter's process or in one where the user already has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_signature import Shapes, input_signature, layer_names, output_names, variable_names


@dataclass(frozen=True)
class Traced:
    """A frozen graph. ``inputs`` and ``outputs``: (tensor in the graph, name for the user); ``layers``: Keras names.

    ``parameters``: data by the user's name; the i-th is the placeholder ``parameter_tensor(i)``.
    """

    graph_def: bytes
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def trace_keras(model: Any, source: str, shapes: Shapes | None = None, examples: Sequence[Any] | None = None) -> Traced:
    """Trace ``model`` in inference mode; dimension 0 stays symbolic unless ``shapes`` says a number.

    ``examples``: arrays, needed where the model does not know its inputs (a subclassed model). Raises InputError
    naming the input whose shape is open, or the layer that fails.
    """
    import tensorflow as tf

    names, specs = input_signature(model, source, shapes or {}, examples)
    tensors = [tf.TensorSpec(shape, dtype, name=f"input_{i}") for i, (shape, dtype) in enumerate(specs)]

    def call(*inputs: Any) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    with _unrolled(model), _inlined_functions():
        try:
            concrete = tf.function(call, input_signature=tensors, autograph=False).get_concrete_function()
        except Exception as error:
            raise InputError(f"{source}: TensorFlow cannot trace the model: {_reason(error)}") from error
    return _frozen(concrete, names, output_names(model, len(concrete.outputs)), _variables(model), layer_names(model))


def parameter_tensor(index: int) -> str:
    """The tensor of the parameter at position ``index``."""
    return f"parameter/{index}:0"


@contextlib.contextmanager
def _unrolled(model: Any) -> Iterator[None]:
    """Recurrent layers unroll their time steps, for a loop cannot be compiled; restored afterwards."""
    flatten = getattr(model, "_flatten_layers", None)
    layers = [layer for layer in flatten() if getattr(layer, "unroll", None) is False] if flatten is not None else []
    try:
        for layer in layers:
            layer.unroll = True
        yield
    finally:
        for layer in layers:
            layer.unroll = False


@contextlib.contextmanager
def _inlined_functions() -> Iterator[None]:
    """Keras compiles grouped convolutions on their own (XLA); traced inline they are plain operators."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _variables(model: Any) -> dict[int, str]:
    """id of a variable's resource handle -> its name. Keras 3 keeps the tf.Variable in ``value``."""
    owners = ((name, v if hasattr(v, "handle") else v.value) for name, v in variable_names(model))
    return {id(variable.handle): name for name, variable in owners}


def _frozen(
    concrete: Any, inputs: list[str], outputs: list[str], variables: dict[int, str], layers: tuple[str, ...]
) -> Traced:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    captured = {inner.name.split(":")[0]: variables.get(id(outer)) for outer, inner in concrete.graph.captures}
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    graph_def = frozen.graph.as_graph_def(add_shapes=True)
    parameters = _name_parameters(graph_def, {k: v for k, v in captured.items() if v is not None})
    return Traced(
        graph_def.SerializeToString(),
        tuple((tensor.name, name) for tensor, name in zip(frozen.inputs, inputs)),
        tuple((tensor.name, name) for tensor, name in zip(frozen.outputs, outputs)),
        parameters,
        layers,
    )


def _name_parameters(graph_def: Any, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Turn the constants of captured variables into placeholders, in place; returns their data by new name."""
    import tensorflow as tf

    parameters: dict[str, np.ndarray] = {}
    renamed: dict[str, str] = {}
    for node in graph_def.node:
        if node.op != "Const" or node.name not in names:
            continue
        array = tf.make_ndarray(node.attr["value"].tensor)
        dtype = node.attr["dtype"].type
        placeholder = parameter_tensor(len(renamed)).removesuffix(":0")
        parameters[names[node.name]], renamed[node.name] = array, placeholder
        node.Clear()
        node.name = placeholder
        node.op = "Placeholder"
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    for node in graph_def.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    return parameters


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
