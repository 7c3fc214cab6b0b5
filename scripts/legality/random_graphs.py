"""Random networks of 3 to 6 operators: does the table say of them what the backend says?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hexaquant.htp.check import Judgement, judge, needs_float16, one_scheme
from hexaquant.htp.scheme import SCHEMES, scheme_problem
from hexaquant.htp.soc import ARCHITECTURES, find_target
from hexaquant.ir.graph import Graph
from legality.case import SAMPLES, with_output_shapes
from legality.prober import Prober, Variant, import_case, quantize

BOUND_DB = 10.0
"""Least SQNR against the QDQ reference: errors of several operators add up, steep and rounding ones enlarge them."""

UNARY = (
    *("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Gelu", "Elu", "Selu", "Softplus", "Exp", "Abs", "Neg"),
    *("Ceil", "Floor", "Round", "Sin", "Cos", "Atan", "LeakyRelu", "ThresholdedRelu", "Sign", "Mish", "Erf"),
)
INPUTS = ((1, 8, 12, 12), (1, 4, 8, 8), (1, 6, 16), (4, 12), (2, 5, 8), (1, 2, 4, 6, 6))


@dataclass
class Sketch:
    """A network that is being drawn. ``values``: float tensors that operators may read, with their shapes."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(
        self, op: str, inputs: list[str], shape: tuple[int, ...] | None, outputs: int = 1, **attributes: Any
    ) -> str:
        """A node; its first output may be read by others when ``shape`` is given."""
        index = len(self.nodes)
        names = [f"v{index}" if i == 0 else f"v{index}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{index}", **attributes))
        if shape is not None:
            self.values[names[0]] = shape
        return names[0]

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int, low: float = -0.5, high: float = 0.5) -> str:
        return self.constant(self.rng.uniform(low, high, shape).astype(np.float32))

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]


Grower = Callable[[Sketch, str, tuple[int, ...]], bool]
"""Puts an operator on a value of a shape; False when it does not fit."""


def unary(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    s.add(s.pick(*UNARY), [x], shape)
    return True


def positive(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    low, high = s.constant(np.float32(0.3)), s.constant(np.float32(2.0))
    clipped = s.add("Clip", [x, low, high], shape)
    s.add(s.pick("Log", "Sqrt", "Reciprocal"), [clipped], shape)
    return True


def binary(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    others = [name for name, other in s.values.items() if other == shape and name != x]
    kind = s.pick("computed", "scalar", "constant", "channel")
    op = s.pick("Add", "Sub", "Mul", "Max", "Min")
    if kind == "computed" and others:
        second = s.pick(*others)
    elif kind == "scalar":
        second = s.constant(np.float32(0.7))
    elif kind == "channel" and len(shape) > 1:
        second = s.weight(shape[1], *[1] * (len(shape) - 2))
    else:
        second = s.weight(*shape)
    s.add(op, [x, second], shape)
    return True


def convolution(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    dims, channels = len(shape) - 2, shape[1] if len(shape) > 1 else 0
    kernel, stride = s.pick(1, 3), s.pick(1, 2)
    if dims not in (1, 2, 3) or min(shape[2:]) < kernel or channels % 2:
        return False
    group = s.pick(1, 1, channels, 2)
    out = channels if group > 1 else s.pick(4, 8)
    size = tuple((d - kernel) // stride + 1 for d in shape[2:])
    attributes = {"group": group, "strides": [stride] * dims}
    inputs = [x, s.weight(out, channels // group, *[kernel] * dims), s.weight(out)]
    s.add("Conv", inputs, (shape[0], out, *size), **attributes)
    return True


def transposed(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    dims = len(shape) - 2
    if dims not in (1, 2):
        return False
    size = tuple((d - 1) * 2 + 2 for d in shape[2:])
    inputs = [x, s.weight(shape[1], 4, *[2] * dims), s.weight(4)]
    s.add("ConvTranspose", inputs, (shape[0], 4, *size), strides=[2] * dims)
    return True


def pool(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    dims = len(shape) - 2
    if dims not in (1, 2, 3) or min(shape[2:]) < 3:
        return False
    kernel = s.pick(2, 3)
    size = tuple((d - kernel) // 2 + 1 for d in shape[2:])
    op = s.pick("MaxPool", "AveragePool")
    s.add(op, [x], (*shape[:2], *size), kernel_shape=[kernel] * dims, strides=[2] * dims)
    return True


def global_pool(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    if len(shape) not in (3, 4, 5):
        return False
    s.add(s.pick("GlobalAveragePool", "GlobalMaxPool"), [x], (*shape[:2], *[1] * (len(shape) - 2)))
    return True


def resize(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    if len(shape) != 4:
        return False
    mode, transform = s.pick("nearest", "linear"), s.pick("half_pixel", "asymmetric", "align_corners")
    scales = s.constant(np.array([1, 1, 2, 2], np.float32))
    extra = {"nearest_mode": "floor"} if transform == "asymmetric" else {}
    size = (*shape[:2], shape[2] * 2, shape[3] * 2)
    s.add("Resize", [x, "", scales], size, mode=mode, coordinate_transformation_mode=transform, **extra)
    return True


def product(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    if len(shape) < 2:
        return False
    if s.pick(True, False):
        s.add("MatMul", [x, s.weight(shape[-1], 6)], (*shape[:-1], 6))
        return True
    swapped = (*shape[:-2], shape[-1], shape[-2])
    other = s.add("Transpose", [x], swapped, perm=[*range(len(shape) - 2), len(shape) - 1, len(shape) - 2])
    s.add("MatMul", [x, other], (*shape[:-1], shape[-2]))
    return True


def linear(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    if len(shape) != 2:
        return False
    s.add("Gemm", [x, s.weight(6, shape[1]), s.weight(6)], (shape[0], 6), transB=1)
    return True


def norm(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    op = s.pick("Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "LpNormalization")
    if op == "LayerNormalization":
        s.add(op, [x, s.weight(shape[-1], low=0.5, high=1.5), s.weight(shape[-1])], shape)
    elif op == "InstanceNormalization":
        if len(shape) < 3 or int(np.prod(shape[2:])) == 1:
            return False
        s.add(op, [x, s.weight(shape[1], low=0.5, high=1.5), s.weight(shape[1])], shape)
    else:
        s.add(op, [x], shape, axis=s.pick(-1, -1, 1) if len(shape) > 1 else -1)
    return True


def reduction(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    op = s.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2")
    s.add(op, [x, s.constant(np.array([len(shape) - 1]))], (*shape[:-1], 1), keepdims=1)
    return True


def reshaped(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    size = int(np.prod(shape))
    wanted = s.pick((1, size), (1, 2, size // 2), (1, 2, 2, size // 4), (1, 1, 2, 2, size // 4))
    if size % 4:
        return False
    s.add("Reshape", [x, s.constant(np.array(wanted))], wanted)
    return True


def moved(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    rank, last = len(shape), shape[-1]
    op = s.pick("Transpose", "Slice", "Concat", "Gather", "Split", "Tile", "Pad", "TopK")
    if op == "Transpose":
        s.add(op, [x], tuple(reversed(shape)), perm=list(reversed(range(rank))))
    elif op == "Slice":
        bounds = [s.constant(np.array([n])) for n in (0, max(last - 1, 1), rank - 1)]
        s.add(op, [x, *bounds], (*shape[:-1], max(last - 1, 1)))
    elif op == "Concat":
        s.add(op, [x, s.pick(x, s.weight(*shape))], (*shape[:-1], 2 * last), axis=rank - 1)
    elif op == "Gather":
        s.add(op, [x, s.constant(np.array([0, last - 1]))], (*shape[:-1], 2), axis=rank - 1)
    elif op == "Split":
        if last % 2:
            return False
        s.add(op, [x], (*shape[:-1], last // 2), outputs=2, axis=rank - 1, num_outputs=2)
    elif op == "Tile":
        s.add(op, [x, s.constant(np.array([1] * (rank - 1) + [2]))], (*shape[:-1], 2 * last))
    elif op == "Pad":
        if last < 2:
            return False
        pads = np.array([0] * (rank - 1) + [1] + [0] * (rank - 1) + [1])
        s.add(op, [x, s.constant(pads)], (*shape[:-1], last + 2), mode=s.pick("constant", "reflect", "edge"))
    else:
        s.add(op, [x, s.constant(np.array([1]))], (*shape[:-1], 1), outputs=2, axis=rank - 1)
    return True


def cropped(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    """Some elements cut off either end of some axes, or the second part of a Split."""
    axes = [axis for axis, size in enumerate(shape) if axis and size > 3]
    if not axes:
        return False
    if s.pick(True, False, False):
        axis = s.pick(*axes)
        first = int(s.rng.integers(1, shape[axis]))
        index = len(s.nodes)
        rest = tuple(size - first if i == axis else size for i, size in enumerate(shape))
        s.add("Split", [x, s.constant(np.array([first, shape[axis] - first]))], None, outputs=2, axis=axis)
        s.values[f"v{index}_1"] = rest
        s.values[s.add("Relu", [f"v{index}"], None)] = tuple(
            first if i == axis else size for i, size in enumerate(shape)
        )
        return True
    cut = [axis for axis in axes if s.pick(True, False)] or axes[-1:]
    begin = {axis: s.pick(0, 1, 2) for axis in cut}
    end = {axis: shape[axis] - s.pick(0, 0, 1) for axis in cut}
    bounds = [s.constant(np.array(list(numbers))) for numbers in (begin.values(), end.values(), cut)]
    size = tuple(end[axis] - begin[axis] if axis in begin else d for axis, d in enumerate(shape))
    s.add("Slice", [x, *bounds], size)
    return True


def chosen(s: Sketch, x: str, shape: tuple[int, ...]) -> bool:
    condition = s.add(s.pick("Greater", "Less"), [x, s.constant(np.float32(0.1))], None)
    s.add("Where", [condition, x, s.constant(np.float32(0.0))], shape)
    return True


GROWERS: tuple[Grower, ...] = (
    unary, unary, unary, binary, binary, convolution, convolution, transposed, pool, global_pool, resize, product,
    linear, linear, norm, norm, reduction, reshaped, moved, moved, cropped, positive, chosen,
)  # fmt: skip


def random_network(seed: int) -> tuple[onnx.ModelProto, list[dict[str, np.ndarray]]]:
    """A network of 3 to 6 drawn operators (some draws add two nodes), and SAMPLES draws of its input."""
    rng = np.random.default_rng(seed)
    sketch = Sketch(rng)
    shape = sketch.pick(*INPUTS)
    sketch.values["x"] = shape
    for _ in range(int(rng.integers(3, 7))):
        name = list(sketch.values)[-1] if rng.random() < 0.8 else sketch.pick(*sketch.values)
        while not sketch.pick(*GROWERS)(sketch, name, sketch.values[name]):
            continue
    read = {name for node in sketch.nodes for name in node.input}
    ends = [name for node in sketch.nodes for name in node.output[:1] if name not in read]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        sketch.nodes, f"random_{seed}", [info], [onnx.ValueInfoProto(name=n) for n in ends], sketch.constants
    )
    feeds = [{"x": rng.uniform(-1.5, 1.5, shape).astype(np.float32)} for _ in range(SAMPLES)]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return with_output_shapes(model, feeds[0]), feeds


@dataclass(frozen=True)
class Comparison:
    """What the table and the backend say of one random network."""

    seed: int
    arch: int
    scheme: str
    operators: tuple[str, ...]
    table: tuple[Judgement, ...]
    backend: dict[str, Any]

    @property
    def refused_by_table(self) -> list[Judgement]:
        return [judgement for judgement in self.table if judgement.is_bad]

    @property
    def unmeasured(self) -> list[Judgement]:
        return [judgement for judgement in self.table if judgement.status == "unknown"]

    @property
    def is_decided(self) -> bool:
        """Whether both have a verdict: something is refused or every form was measured, and the emulator computes what
        a device would. Where v68 needs float16 it does not: it has float32."""
        if self.arch == 68 and any(needs_float16(op, self.scheme) for op in self.operators):
            return False
        return bool(self.refused_by_table) or not self.unmeasured

    @property
    def taken_by_backend(self) -> bool:
        return self.backend["verdict"] == "legal" and self.backend.get("sqnr", 200.0) >= BOUND_DB

    @property
    def agrees(self) -> bool:
        return self.taken_by_backend != bool(self.refused_by_table)

    def __str__(self) -> str:
        told = "; ".join(str(judgement) for judgement in self.refused_by_table) or "takes it"
        heard = {key: value for key, value in self.backend.items() if key != "by"}
        return f"{self.seed} v{self.arch} {self.scheme} {' '.join(self.operators)}: table: {told}; backend: {heard}"


def compare(seed: int, prober: Prober, folder: Path) -> Comparison:
    """Draw a network, an architecture and a scheme that this has at all; ask both."""
    rng = np.random.default_rng([seed, 1])
    arch, scheme = int(rng.choice(list(ARCHITECTURES))), str(rng.choice(list(SCHEMES)))
    while scheme_problem(SCHEMES[scheme], find_target(ARCHITECTURES[arch])):
        scheme = str(rng.choice(list(SCHEMES)))
    model, feeds = random_network(seed)
    graph: Graph = import_case(model)
    judgements = judge(graph, find_target(ARCHITECTURES[arch]), one_scheme(scheme))
    answer = prober.ask(quantize(graph, feeds, Variant(scheme), folder).request(arch))
    return Comparison(seed, arch, scheme, tuple(n.op_type for n in graph.nodes), tuple(judgements), answer)
