"""A random chain of blocks between an input and its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.generic]
TYPES = {"float": TensorProto.FLOAT, "half": TensorProto.FLOAT16, "int": TensorProto.INT64}


@dataclass
class Builder:
    """Nodes and constants so far. ``inputs``: name -> (type, dims, how a sample is drawn); the main one is "x"."""

    rng: np.random.Generator
    batch: str | int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: dict[str, tuple[str, list[str | int], Callable[[np.random.Generator], Array]]] = field(default_factory=dict)
    outputs: dict[str, list[str | int]] = field(default_factory=dict)
    count: int = 0

    def name(self, base: str) -> str:
        self.count += 1
        return f"{base}_{self.count}"

    def op(self, op_type: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: object) -> str:
        """The (first) output of a new node."""
        names = [self.name(op_type.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, self.name("n"), domain=domain, **attributes))
        return names[0]

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def weight(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        return self.constant(self.rng.uniform(-1, 1, shape) * (3 / max(fan, 1)) ** 0.5)

    def input(self, kind: str, dims: list[str | int], draw: Callable[[np.random.Generator], Array]) -> str:
        name = self.name("in")
        self.inputs[name] = kind, dims, draw
        return name


@dataclass(frozen=True)
class Composition:
    """``blocks``: names of what it is made of; ``draws``: how a sample of each input is drawn."""

    model: onnx.ModelProto
    blocks: tuple[str, ...]
    draws: dict[str, Callable[[np.random.Generator], Array]]
    seed: int

    def sample(self, index: int) -> dict[str, Array]:
        """One sample, each input with its batch axis."""
        rng = np.random.default_rng([self.seed, index])
        return {name: draw(rng) for name, draw in self.draws.items()}


def compose(seed: int) -> Composition:
    """The network of ``seed``: a map of 1 x 8 x 8 x 8 through three to six blocks."""
    from wild.blocks import BLOCKS, ENDS

    rng = np.random.default_rng(seed)
    free = bool(rng.random() < 0.5)
    build = Builder(rng, "N" if free else 1)
    half = bool(rng.random() < 0.2)
    dtype = np.float16 if half else np.float32
    build.inputs["x"] = (
        "half" if half else "float",
        [build.batch, 8, 8, 8],
        lambda r: r.uniform(-1, 1, (1, 8, 8, 8)).astype(dtype),
    )
    at = build.op("Cast", "x", to=TensorProto.FLOAT) if half else "x"
    chosen = [str(name) for name in rng.choice(list(BLOCKS), int(rng.integers(3, 7)))]
    for name in chosen:
        at = BLOCKS[name](build, at)
    end = str(rng.choice(list(ENDS)))
    ENDS[end](build, at)
    blocks = (*(["free"] if free else []), *(["half"] if half else []), *chosen, end)
    return Composition(_model(build), blocks, {n: draw for n, (_, _, draw) in build.inputs.items()}, seed)


def _model(build: Builder) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(n, TYPES[kind], dims) for n, (kind, dims, _) in build.inputs.items()]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in build.outputs.items()]
    graph = helper.make_graph(build.nodes, "composition", inputs, outputs, build.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def reference(model: onnx.ModelProto, sample: dict[str, Array]) -> list[Array]:
    """Outputs of onnxruntime without optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, sample)]
