"""Networks: graphs that are none, operators that do not fit, sizes that nobody means."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hostile.case import LINT, QUANTIZE, Case, changed, model

BIG = 1 << 16


def _set(path: str, value: object) -> bytes:
    """The tiny network with one field set: "graph.node.0.name"."""

    def change(proto: onnx.ModelProto) -> None:
        *way, last = path.split(".")
        place = proto
        for step in way:
            place = place[int(step)] if step.isdigit() else getattr(place, step)  # type: ignore[index]
        if last.isdigit():
            place[int(last)] = value  # type: ignore[index]
        else:
            setattr(place, last, value)

    return changed(change)


def functions(levels: int, calls: int = 2) -> bytes:
    """A chain of model functions, each of which calls the one before it ``calls`` times."""
    made = []
    for level in range(levels):
        kind = ("Relu", "") if level == 0 else (f"F{level - 1}", "own")
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        nodes = [helper.make_node(kind[0], [a], [b], domain=kind[1]) for a, b in itertools.pairwise(names)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        made.append(helper.make_function("own", f"F{level}", ["x"], ["y"], nodes, opsets))
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node(f"F{levels - 1}", ["x"], ["y"], domain="own")], "n", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=made, opset_imports=opsets, ir_version=8).SerializeToString()


def recursive() -> bytes:
    proto = onnx.load_from_string(functions(2))
    proto.functions[0].node[0].op_type, proto.functions[0].node[0].domain = "F1", "own"
    return proto.SerializeToString()


def twice(field: str) -> bytes:
    return changed(lambda m: getattr(m.graph, field).append(getattr(m.graph, field)[0]))


def constant(name: str, array: np.ndarray, node: str) -> bytes:
    """A network of ``node`` with the constant ``name``."""
    proto = onnx.load_from_string(model(node))
    proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto.SerializeToString()


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def graph_case(what: str, content: bytes, words: str = "", code: int = 2) -> Case:
    return Case(what, {"net.onnx": content}, LINT, code, words)


def _external(proto: onnx.ModelProto, location: str) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))


def unsorted() -> bytes:
    def change(proto: onnx.ModelProto) -> None:
        nodes = list(reversed(proto.graph.node))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    return changed(change)


def cycle() -> bytes:
    return changed(lambda m: m.graph.node[0].input.__setitem__(0, "r"))


CASES = [
    graph_case("operators in reverse order", unsorted(), code=0),
    graph_case("a circle of operators", cycle(), "circle"),
    graph_case("an operator that reads itself", _set("graph.node.1.input.0", "r"), "circle"),
    graph_case("a tensor from nowhere", _set("graph.node.1.input.0", "ghost"), "ghost"),
    graph_case("an output that nothing makes", _set("graph.output.0.name", "ghost"), "ghost"),
    graph_case("a tensor made twice", _set("graph.node.2.output.0", "c")),
    graph_case("a constant twice", twice("initializer"), "two constants"),
    graph_case("an input twice", twice("input"), "two inputs"),
    graph_case("an output twice", twice("output"), "two outputs"),
    graph_case("no operators", changed(lambda m: m.graph.ClearField("node"))),
    graph_case("no outputs", changed(lambda m: m.graph.ClearField("output"))),
    graph_case("no graph", changed(lambda m: m.ClearField("graph"))),
    graph_case("no opset", changed(lambda m: m.ClearField("opset_import")), "opset"),
    graph_case("opset 0", _set("opset_import.0.version", 0), "opset"),
    graph_case("opset 999", _set("opset_import.0.version", 999), "999"),
    graph_case("opset -1", _set("opset_import.0.version", -1), "opset"),
    graph_case("zero byte in a tensor's name", _set("graph.node.0.output.0", "c\0d")),
    graph_case("zero byte in an operator's name", _set("graph.node.0.name", "a\0b"), "not text"),
    graph_case("zero byte in an input's name", _set("graph.input.0.name", "x\0")),
    graph_case("zero byte in a constant's name", _set("graph.initializer.0.name", "w\0")),
    graph_case("escape codes in an operator's name", _set("graph.node.0.name", "\x1b[2J\x1b]0;owned\x07"), code=0),
    graph_case("an operator named like another direction of writing", _set("graph.node.0.name", "a\u202eb"), code=0),
    graph_case("a line separator in an operator's name", _set("graph.node.0.name", "a\u2028b"), code=0),
    graph_case("an operator's name of 100,000 letters", _set("graph.node.0.name", "a" * 100_000), code=0),
    graph_case("an unknown operator", _set("graph.node.1.op_type", "Frobnicate"), "Frobnicate", 3),
    Case("an unknown domain", {"net.onnx": _set("graph.node.1.domain", "evil.corp")}, QUANTIZE, 3, "evil.corp.Relu"),
    graph_case("an unknown domain", _set("graph.node.1.domain", "evil.corp"), "evil.corp.Relu", 3),
    graph_case("a standard operator in Microsoft's domain", _set("graph.node.1.domain", "com.microsoft"), "com.microsoft.Relu", 3),
    graph_case("an operator without a type", _set("graph.node.1.op_type", ""), code=3),
    graph_case("an input of unknown type", _set("graph.input.0.type.tensor_type.elem_type", 99)),
    graph_case("an input without a type", changed(lambda m: m.graph.input[0].ClearField("type")), code=3),
    graph_case("a dimension of 0", _set("graph.input.0.type.tensor_type.shape.dim.2.dim_value", 0), "size 0"),
    graph_case("a dimension of -5", _set("graph.input.0.type.tensor_type.shape.dim.2.dim_value", -5)),
    graph_case("a dimension of 2^62", _set("graph.input.0.type.tensor_type.shape.dim.2.dim_value", 1 << 62)),
    graph_case("a constant that claims 2^40 numbers", _set("graph.initializer.0.dims.0", 1 << 40), "do not fit"),
    graph_case("a constant of negative size", _set("graph.initializer.0.dims.0", -6)),
    graph_case("a constant of unknown type", _set("graph.initializer.0.data_type", 77)),
    graph_case("a constant cut short", _set("graph.initializer.0.raw_data", b"\0" * 7), "do not fit"),
    graph_case("a constant outside", changed(lambda m: _external(m, "../../etc/passwd")), "outside"),
    graph_case("a constant at /etc/passwd", changed(lambda m: _external(m, "/etc/passwd")), "outside"),
    graph_case("a constant in a missing file", changed(lambda m: _external(m, "weights.bin")), "missing"),
    graph_case("functions that double 40 times", functions(40), "unfold"),
    graph_case("functions that double 14 times", functions(14), "unfold"),
    graph_case("functions that grow tenfold 9 times", functions(9, 10), "unfold"),
    graph_case("functions that double 4 times", functions(4), code=0),
    graph_case("a function that calls itself", recursive()),
    graph_case("Expand to 2^32", constant("s", ints(BIG, BIG), "c = Constant<value = float[1,1] {1.0}>() e = Expand(c, s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("Tile to 2^32", constant("s", ints(BIG, BIG), "c = Constant<value = float[1,1] {1.0}>() e = Tile(c, s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("ConstantOfShape of 2^32", constant("s", ints(BIG, BIG), "e = ConstantOfShape(s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("ConstantOfShape of 2^62", constant("s", ints(1 << 31, 1 << 31), "e = ConstantOfShape(s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("Pad to 2^32", constant("s", ints(0, 0, BIG, BIG), "c = Constant<value = float[1,1] {1.0}>() e = Pad(c, s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("an input expanded to 2^32", constant("s", ints(BIG, BIG, 4), "e = Expand(x, s) m = ReduceMax<keepdims=0>(e) y = Add(x, m)")),
    graph_case("an input tiled to 2^34", constant("s", ints(BIG, BIG), "e = Tile(x, s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("an input padded to 2^32", constant("s", ints(0, 0, BIG, BIG), "e = Pad(x, s) m = ReduceMax<keepdims=1>(e) y = Add(x, m)")),
    graph_case("Range of 2^40", model("a = Constant<value = int64 {0}>() b = Constant<value = int64 {1099511627776}>() c = Constant<value = int64 {1}>() r = Range(a, b, c) f = Cast<to=1>(r) m = ReduceMax<keepdims=1>(f) y = Add(x, m)")),
    graph_case("Range in steps of 0", model("a = Constant<value = int64 {0}>() b = Constant<value = int64 {5}>() c = Constant<value = int64 {0}>() r = Range(a, b, c) f = Cast<to=1>(r) m = ReduceMax<keepdims=1>(f) y = Add(x, m)")),
    graph_case("OneHot of depth 2^40", model("i = Constant<value = int64[1] {1}>() d = Constant<value = int64 {1099511627776}>() v = Constant<value = float[2] {0.0, 1.0}>() h = OneHot(i, d, v) m = ReduceMax<keepdims=1>(h) y = Add(x, m)")),
    *[
        graph_case(f"{name} out of range", model(text), "")
        for name, text in {
            "Softmax axis 9": "y = Softmax<axis=9>(x)",
            "Softmax axis -9": "y = Softmax<axis=-9>(x)",
            "LogSoftmax axis 2": "y = LogSoftmax<axis=2>(x)",
            "Flatten axis 7": "y = Flatten<axis=7>(x)",
            "Concat axis 5": "y = Concat<axis=5>(x, x)",
            "Transpose perm": "y = Transpose<perm=[0,5]>(x)",
            "Transpose repeated perm": "y = Transpose<perm=[0,0]>(x)",
            "Split axis 4": "y, z = Split<axis=4>(x)",
            "ReduceMean axes 6": "y = ReduceMean<axes=[6]>(x)",
            "ReduceMax axes -7": "y = ReduceMax<axes=[-7]>(x)",
            "Gather axis 3": "i = Constant<value = int64[1] {0}>() y = Gather<axis=3>(x, i)",
            "Gather index 9": "i = Constant<value = int64[1] {9}>() y = Gather<axis=1>(x, i)",
            "ArgMax axis 8": "a = ArgMax<axis=8>(x) y = Cast<to=1>(a)",
            "CumSum axis 5": "a = Constant<value = int64 {5}>() y = CumSum(x, a)",
            "LayerNormalization axis 4": "s = Constant<value = float[4] {1.0,1.0,1.0,1.0}>() y = LayerNormalization<axis=4>(x, s)",
            "Unsqueeze axis 9": "a = Constant<value = int64[1] {9}>() y = Unsqueeze(x, a)",
            "Squeeze axis 9": "a = Constant<value = int64[1] {9}>() y = Squeeze(x, a)",
            "Squeeze of a 4": "a = Constant<value = int64[1] {1}>() y = Squeeze(x, a)",
            "Unsqueeze axes twice": "a = Constant<value = int64[2] {0,0}>() y = Unsqueeze(x, a)",
            "TopK of 99": "k = Constant<value = int64[1] {99}>() y, i = TopK(x, k)",
            "Einsum without a rule": 'y = Einsum<equation="">(x)',
            "Einsum of other rank": 'y = Einsum<equation="abc->abc">(x)',
            "Einsum of two terms for one input": 'y = Einsum<equation="ij,jk->ik">(x)',
            "Einsum with signs": 'y = Einsum<equation="i!->j?">(x)',
            "Reshape to other size": "s = Constant<value = int64[2] {3,7}>() y = Reshape(x, s)",
            "Reshape with -1 twice": "s = Constant<value = int64[2] {-1,-1}>() y = Reshape(x, s)",
            "Reshape to -2": "s = Constant<value = int64[1] {-2}>() y = Reshape(x, s)",
            "Reshape that does not divide": "s = Constant<value = int64[2] {-1,3}>() y = Reshape(x, s)",
            "Reshape of 0 beyond the rank": "s = Constant<value = int64[3] {1,4,0}>() y = Reshape(x, s)",
            "Add of other sizes": "c = Constant<value = float[3] {1.0,2.0,3.0}>() y = Add(x, c)",
            "MatMul of other sizes": "c = Constant<value = float[3,1] {1.0,2.0,3.0}>() y = MatMul(x, c)",
            "Gemm of rank 3": "c = Constant<value = float[1,4,1] {1.0,2.0,3.0,4.0}>() y = Gemm(x, c)",
            "Conv of rank 2": "c = Constant<value = float[1,4] {1.0,2.0,3.0,4.0}>() y = Conv(x, c)",
            "Slice in steps of 0": "a = Constant<value = int64[1] {0}>() b = Constant<value = int64[1] {4}>() s = Constant<value = int64[1] {0}>() y = Slice(x, a, b, a, s)",
            "Expand to other size": "s = Constant<value = int64[2] {1,3}>() y = Expand(x, s)",
            "Pad that leaves nothing": "p = Constant<value = int64[4] {0,-3,0,-3}>() y = Pad(x, p)",
            "Tile by -1": "r = Constant<value = int64[2] {1,-1}>() y = Tile(x, r)",
            "Cast to nothing": "y = Cast<to=99>(x)",
            "Clip without order": "a = Constant<value = float[3] {1.0,2.0,3.0}>() y = Clip(x, a)",
            "Where of other sizes": "c = Constant<value = bool[3] {1,0,1}>() y = Where(c, x, x)",
            "an attribute of wrong type": 'y = Softmax<axis="last">(x)',
            "a missing attribute": "y = Concat(x, x)",
            "too many inputs": "y = Relu(x, x, x)",
            "too few inputs": "y = Add(x)",
        }.items()
    ],
    *[
        graph_case(f"a Conv with {name} {value}", changed(lambda m, name=name, value=value: m.graph.node[0].attribute.append(helper.make_attribute(name, value))))
        for name, value in (("group", 0), ("group", -1), ("group", 4), ("strides", [0, 0]), ("strides", [-1, 1]), ("dilations", [0, 1]), ("strides", [1]), ("kernel_shape", [9, 9]), ("dilations", [50, 50]), ("auto_pad", "SIDEWAYS"))
    ],
]
