"""A frozen TensorFlow graph to a plain ONNX file, through tf2onnx, in the converter's process.

tf2onnx's own optimizer is left out: constants, names and Transposes are the business of ``ir/passes``, which keep track
of the parameters they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from hexaquant.core.errors import InputError, UnsupportedOpError
from hexaquant.frontends.keras_trace import Traced, parameter_tensor

# TensorFlow's exact GELU in the form that ONNX has operators for, on a GraphDef, before the conversion.
#
#     erfc(v) = 1 + erf(-v)
#
# and where v = (-x) c, as tf.nn.gelu writes it, erf(-v) = erf(x c): the form that ir/passes/fuse_gelu.py recognises.


def replace_erfc(graph_def: Any) -> int:
    """Replace every Erfc in place; returns their number."""
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    found = [node for node in graph_def.node if node.op == "Erfc"]
    for node in found:
        dtype = node.attr["T"].type
        one = graph_def.node.add(name=f"{node.name}/one", op="Const")
        one.attr["dtype"].type = dtype
        number = np.ones((), tf.as_dtype(dtype).as_numpy_dtype)
        one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(number))
        erf = graph_def.node.add(name=f"{node.name}/erf", op="Erf", input=[_negated(graph_def, node, nodes)])
        erf.attr["T"].type = dtype
        node.op = "AddV2"
        node.input[:] = [erf.name, one.name]
    return len(found)


def _negated(graph_def: Any, node: Any, nodes: dict[str, Any]) -> str:
    """A node that computes -v for the input v of ``node``."""
    product = nodes.get(node.input[0])
    if product is not None and product.op == "Mul":
        for index in (0, 1):
            negative = nodes.get(product.input[index])
            if negative is not None and negative.op == "Neg":
                positive = graph_def.node.add(name=f"{node.name}/scaled", op="Mul")
                positive.input.extend([negative.input[0], product.input[1 - index]])
                positive.attr["T"].type = node.attr["T"].type
                return str(positive.name)
    negation = graph_def.node.add(name=f"{node.name}/negated", op="Neg", input=[node.input[0]])
    negation.attr["T"].type = node.attr["T"].type
    return str(negation.name)


OPSET = 18
"""The newest opset that tf2onnx writes."""
LIMIT = 1_900_000_000
"""Bytes of parameters that one protobuf message holds."""


def convert_traced(traced: Traced, source: str) -> onnx.ModelProto:
    """ONNX of ``traced`` with its parameters as initializers. Raises UnsupportedOpError naming the layer."""
    import tensorflow as tf

    if sum(array.nbytes for array in traced.parameters.values()) > LIMIT:
        raise InputError(f"{source}: more than 1.9 GB of parameters cannot be imported; export the model to ONNX")
    tensors = [parameter_tensor(i) for i in range(len(traced.parameters))]
    names = dict([*traced.inputs, *traced.outputs])
    with tf.Graph().as_default() as graph:
        definition = tf.compat.v1.GraphDef.FromString(traced.graph_def)
        replace_erfc(definition)
        tf.import_graph_def(definition, name="")
        inputs = [*(tensor for tensor, _ in traced.inputs), *tensors]
        outputs = [tensor for tensor, _ in traced.outputs]
        proto = _convert(
            source, tf_graph=graph, input_names=inputs, output_names=outputs, tensors_to_rename=_free(names)
        )
    _to_initializers(proto, dict(zip(tensors, traced.parameters.items())))
    return proto


def _free(names: dict[str, str]) -> dict[str, str]:
    """Renames that give no two tensors one name."""
    taken = list(names.values())
    return {tensor: name for tensor, name in names.items() if taken.count(name) == 1}


def _convert(source: str, **arguments: Any) -> onnx.ModelProto:
    from keras.src.export.onnx import patch_tf2onnx
    from tf2onnx.tfonnx import process_tf_graph

    patch_tf2onnx()
    try:
        converted = process_tf_graph(opset=OPSET, **arguments)
        proto = converted.make_model(source)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedOpError(f"{source}: tf2onnx cannot convert the model: {reason}") from error
    _refuse_unknown(proto.graph.node, source)
    return onnx.shape_inference.infer_shapes(proto)


def _refuse_unknown(nodes: Sequence[onnx.NodeProto], source: str) -> None:
    for node in nodes:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
            raise UnsupportedOpError(
                f"{source}: layer '{node.name}' needs TensorFlow's {node.op_type}, which has no counterpart in ONNX; "
                "replace the layer"
            )


def _to_initializers(proto: onnx.ModelProto, parameters: dict[str, tuple[str, Any]]) -> None:
    """Graph inputs that stand for parameters become initializers under the user's names."""
    kept = [value for value in proto.graph.input if value.name not in parameters]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in parameters.values())
    for node in proto.graph.node:
        for index, tensor in enumerate(node.input):
            if tensor in parameters:
                node.input[index] = parameters[tensor][0]
