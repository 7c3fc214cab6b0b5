"""TensorFlow's exact GELU in the form that ONNX has operators for, on a GraphDef, before the conversion.

    erfc(v) = 1 + erf(-v)

and where v = (-x) c, as tf.nn.gelu writes it, erf(-v) = erf(x c): the form that ir/passes/fuse_gelu.py recognises.
"""

from __future__ import annotations

from typing import Any

import numpy as np


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
