"""TFLite files of every kind (sparse, hybrid, quantized, streaming, custom operators, damaged) import right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hexaquant as hq
from frontends.tflite_networks import computed, converted, imported, interpreted, normal, one_operator, options_kind
from hexaquant.core.errors import HexaquantError, InputError, UnsupportedOpError
from hexaquant.core.metrics import sqnr_db
from hexaquant.frontends.tflite.model_file import read_subgraphs
from hexaquant.frontends.tflite.schema import ACTIVATIONS, OPERATORS, OPTIONS, TYPES
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.input_spec import input_specs
from hexaquant.ir.normalize import float_network, freeze_batch

IMAGE = (1, 16, 16, 3)


def classifier(tf: Any, x: Any, sparsity: float = 0.0) -> Any:
    """Two convolutions and a classifier; ``sparsity``: the part of the 4x1 blocks of its weights that is zero."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        w = rng.normal(0, 1, shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))
        flat = w.reshape(-1, shape[-1])
        return (flat * (rng.random((flat.shape[0], shape[-1])) >= sparsity)).reshape(shape)

    y = tf.nn.relu6(tf.nn.conv2d(x, weight(3, 3, 3, 16), 2, "SAME") + normal(16))
    y = tf.nn.relu(tf.nn.depthwise_conv2d(y, weight(3, 3, 16, 1), [1, 1, 1, 1], "SAME") + 0.1)
    y = tf.nn.relu(tf.nn.conv2d(y, weight(1, 1, 16, 32), 1, "SAME") + normal(32))
    return tf.matmul(tf.reshape(y, (1, -1)), weight(2048, 10)) + normal(10)


def network(sparsity: float = 0.0, **settings: Any) -> bytes:
    import tensorflow as tf

    specs = [tf.TensorSpec(IMAGE, tf.float32, name="x")]
    return converted(lambda x: classifier(tf, x, sparsity), specs, **settings)


def quantized(wide: bool = False) -> bytes:
    import tensorflow as tf

    settings: dict[str, Any] = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    settings["representative_dataset"] = lambda: ([normal(*IMAGE, seed=s)] for s in range(8))
    if wide:
        settings["target_spec"] = tf.lite.TargetSpec(
            supported_ops=[tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
        )
    return network(**settings)


def test_the_schema_is_that_of_tensorflow() -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    for names, kind in ((OPERATORS, schema.BuiltinOperator), (ACTIVATIONS, schema.ActivationFunctionType)):
        assert all(getattr(kind, name) == number for number, name in enumerate(names))
    assert all(getattr(schema.TensorType, name.upper()) == number for number, name in enumerate(TYPES))


@pytest.mark.parametrize("operator", OPTIONS)
def test_options_are_read_as_tensorflow_writes_them(operator: str) -> None:
    """Every field of the options gets a number of its own, TensorFlow packs it, our reader finds it by name."""
    from tensorflow.lite.python import schema_py_generated as schema

    kind = options_kind(operator)
    options = getattr(schema, f"{kind}T")()
    fields = [name for name in vars(options) if not callable(getattr(options, name))]
    for number, name in enumerate(fields, 1):
        before = getattr(options, name)
        whole = bool(number % 2) != before if isinstance(before, bool) else number
        setattr(options, name, [number] if before is None and "shared" not in name.lower() else whole)
    if operator == "VAR_HANDLE":
        options.container, options.sharedName = "1", "2"
    given = {name: getattr(options, name) for name in fields}
    found = read_subgraphs(one_operator(operator, given, [], [], given=0))[0].operators[0]
    assert found.kind == operator
    written = {"".join(filter(str.isalnum, name)).lower(): getattr(options, name) for name in fields}
    renamed = {"activation": "fusedactivationfunction", "multiplier": "depthmultiplier", "projectionclip": "projclip"}
    renamed |= {"intype": "indatatype", "outtype": "outdatatype" if operator == "CAST" else "outtype"}
    renamed |= {f"dilation{axis}": f"dilation{axis}factor" for axis in "dhw"}
    for name, value in found.options.items():
        plain = name.replace("_", "")
        plain = "initsubgraphindex" if (operator, name) == ("CALL_ONCE", "subgraph") else renamed.get(plain, plain)
        if plain.startswith("old"):
            continue  # fields that TensorFlow itself no longer has
        expected = written[plain]
        assert list(value) == expected if isinstance(value, tuple) else value == expected, name


@pytest.mark.parametrize("kind", ["float", "float16", "hybrid", "sparse", "sparse hybrid"])
def test_float_files_compute_what_the_interpreter_computes(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    settings: dict[str, Any] = {"optimizations": []}
    if "hybrid" in kind or kind == "float16":
        settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        settings["target_spec"] = tf.lite.TargetSpec(supported_types=[tf.float16])
    if "sparse" in kind:
        settings["optimizations"] = [*settings["optimizations"], tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    data = network(0.9 if "sparse" in kind else 0.0, **settings)
    x = normal(*IMAGE, seed=1)
    assert any(operator.kind == "DENSIFY" for operator in read_subgraphs(data)[0].operators) == ("sparse" in kind)
    wanted = interpreted(data, [x])[0][0]
    graph = imported(tmp_path, data)
    least = 25 if "hybrid" in kind else 100  # the interpreter quantizes the activations of hybrid layers at run time
    assert sqnr_db(wanted, computed(float_network(graph), [x])[0]) > least
    assert sum(node.op_type == "Transpose" for node in graph.nodes) <= 2


@pytest.mark.parametrize("wide", [False, True])
def test_quantized_files_keep_their_encodings(tmp_path: Path, wide: bool) -> None:
    data = quantized(wide)
    x = normal(*IMAGE, seed=20)
    wanted = interpreted(data, [x])[0][0]
    graph = imported(tmp_path, data)
    assert sqnr_db(wanted, computed(graph, [x])[0]) > (70 if wide else 35)
    _, encodings = from_qdq(freeze_batch(graph))
    tensors = {t.name: t for t in read_subgraphs(data)[0].tensors}
    scales = [float(t.quantization.scale[0]) for t in tensors.values() if t.quantization and t.data is None]
    found = [float(e.scale.reshape(-1)[0]) for e in encodings.values()]
    assert all(any(abs(scale / other - 1) < 1e-6 for other in found) for scale in scales)


def streaming(tf: Any) -> Any:
    """A ring buffer of 4 frames, a product with it, and a counter that starts at 5."""

    class Streaming(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ring = tf.Variable(tf.zeros((1, 4, 6)), name="ring")
            self.unused = tf.Variable(normal(6), name="constant")

        @tf.function(input_signature=[tf.TensorSpec((1, 1, 6), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            frames = tf.concat([self.ring, x], 1)
            self.ring.assign(frames[:, 1:])
            return tf.nn.relu(tf.matmul(tf.reshape(frames, (1, 30)), normal(30, 5)) + normal(5)) + self.unused[:5]

    return Streaming()


def streaming_file(quantize: bool) -> bytes:
    import tensorflow as tf

    module = streaming(tf)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([normal(1, 1, 6, seed=s)] for s in range(32))
    return bytes(converter.convert())


@pytest.mark.parametrize("quantize", [False, True])
def test_variables_become_states(tmp_path: Path, quantize: bool) -> None:
    data = streaming_file(quantize)
    runs = [[normal(1, 1, 6, seed=s)] for s in range(40, 48)]
    wanted = [outputs[0] for outputs in interpreted(data, *runs)]
    graph = float_network(imported(tmp_path, data))
    states = {spec.name: spec.state_of for spec in input_specs(graph) if spec.state_of}
    assert len(states) == 1 and all(output == f"{name}_next" for name, output in states.items())
    names = [value.name for value in graph.inputs]
    held = {name: np.zeros([int(d) for d in graph.value(name).shape], np.float32) for name in states}
    got = []
    for (x,) in runs:
        outputs = dict(
            zip([v.name for v in graph.outputs], computed(graph, [held.get(n, x) for n in names]), strict=True)
        )
        held = {name: outputs[output] for name, output in states.items()}
        got.append(next(array for name, array in outputs.items() if name not in states.values()))
    assert sqnr_db(np.stack(wanted), np.stack(got)) > (25 if quantize else 100)


def test_a_streaming_file_is_deployed_with_its_states(tmp_path: Path) -> None:
    path = tmp_path / "stream.tflite"
    path.write_bytes(streaming_file(True))
    samples = {
        part: [{"x": normal(1, 1, 6, seed=s + i)} for i in range(n)] for part, s, n in (("a", 0, 24), ("b", 90, 6))
    }
    name = next(spec.name for spec in input_specs(hq.load(path)) if spec.state_of is None)
    data = {part: [{name: one["x"]} for one in rows] for part, rows in samples.items()}
    report = hq.deploy(str(path), data["a"], tmp_path / "out", eval_data=data["b"], metric=None, report=False)
    assert len(report["outputs"]) == 2
    assert all(output["fp32_vs_target_sqnr_db"] > 25 for output in report["outputs"])


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    whole = network()
    chance = random.Random(0)
    path = tmp_path / "net.tflite"
    refused = 0
    for trial in range(60):
        data = bytearray(whole if trial % 4 else whole[: chance.randrange(8, len(whole))])
        for _ in range(chance.choice((1, 4, 32))):
            # the tables lie before and behind the weights
            place = chance.choice((chance.randrange(8, 600), chance.randrange(len(data) - 6000, len(data)))) % len(data)
            data[place] = chance.randrange(256)
        data[4:8] = b"TFL3"
        path.write_bytes(bytes(data))
        try:
            hq.load(path)
        except HexaquantError as error:
            refused += 1
            assert "\n" not in str(error) and "net.tflite" in str(error)
    assert refused > 10
    path.write_bytes(b"\x1c\0\0\0NONE" + bytes(64))
    with pytest.raises(InputError, match=r"no \.tflite file"):
        hq.load(path)


def test_an_unknown_operator_is_named_with_its_output(tmp_path: Path) -> None:
    import tensorflow as tf

    specs = [tf.TensorSpec((2, 8), tf.float32, name="x")]
    data = converted(lambda x: tf.where(x > 0), specs)
    with pytest.raises(UnsupportedOpError, match=r"net\.tflite: WHERE '.+' has no counterpart"):
        imported(tmp_path, data)
