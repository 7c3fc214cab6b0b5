"""The module as a whole: names, taps, bypass, free batch, host arithmetic, copies and errors."""

from __future__ import annotations

import copy
import io

import numpy as np
import onnx_ir as oir
import pytest
import torch
from torch import fx, nn

from hexaquant.core.errors import UnsupportedOpError
from hexaquant.ir.executor import build_module, value_nodes
from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE, Graph

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[n, 3, 8, 8] image) => (float[n, 5] logits, float[n, 4, 8, 8] features)
<float one = {1.0}, float zero = {0.0}, float six = {6.0}, int64[2] flat = {0, -1}>
{
    [conv] hidden = Conv <pads = [1, 1, 1, 1]> (image, "stem.0.weight", "stem.0.bias")
    [act] features = Clip (hidden, zero, six)
    shifted = Add (features, one)
    pooled = GlobalAveragePool (shifted)
    vector = Reshape (pooled, flat)
    logits = Gemm <transB = 1> (vector, "head.weight", "head.bias")
}
"""


class Scale(nn.Module):
    """A tap that one can recognise in the result."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"stem": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), "head": nn.Linear(4, 5)})


def _graph(text: str = TEXT, tensors: dict[str, np.ndarray] | None = None) -> Graph:
    """The graph of ``text`` with initializers added: its own network's parameters unless others are given."""
    if tensors is None:
        tensors = {k: v.numpy() for k, v in _network().state_dict().items()}
    for name in tensors:
        text = text.replace(f'"{name}"', _spelled(name))
    model = oir.from_onnx_text(text)
    for name, data in tensors.items():
        value = _placeholder(model, _spelled(name))
        value.name = name
        value.const_value = oir.tensor(data, name=name)
        value.dtype, value.shape = value.const_value.dtype, value.const_value.shape
        model.graph.register_initializer(value)
    return Graph(model)


def _spelled(name: str) -> str:
    """A name that ONNX text can hold."""
    return "p_" + "".join(c if c.isalnum() else "_" for c in name)


def _placeholder(model: oir.Model, name: str) -> oir.Value:
    return next(v for node in model.graph for v in node.inputs if v is not None and v.name == name)


def _reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    net = _network()
    features = net["stem"](x).clamp(0, 6)  # type: ignore[index]
    return net["head"]((features + 1).mean((2, 3))), features  # type: ignore[index]


def test_outputs_equal_the_network_at_every_batch_size() -> None:
    module = build_module(_graph())
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 8, 8)
        for got, want in zip(module(x), _reference(x), strict=True):
            torch.testing.assert_close(got, want)
        torch.testing.assert_close(module(image=x)[0], module(x)[0])


def test_state_dict_keys_are_the_parameter_names_and_load_from_the_original_network() -> None:
    module = build_module(_graph())
    assert set(module.state_dict()) == {"stem.0.weight", "stem.0.bias", "head.weight", "head.bias"}
    module.load_state_dict(_network().state_dict())
    assert all(path == name for path, name in module.meta["parameter_names"].items())


def test_parameters_are_copies_of_the_graphs_data() -> None:
    graph = _graph()
    module = build_module(graph)
    with torch.no_grad():
        module.get_parameter("head.bias").zero_()
    assert np.abs(graph.value("head.bias").const_value.numpy()).max() > 0  # type: ignore[union-attr]


def test_constant_scalars_become_python_numbers() -> None:
    module = build_module(_graph())
    clip = value_nodes(module)["features"]
    assert clip.args[1:] == (0.0, 6.0)
    assert value_nodes(module)["shifted"].args[1] == 1.0


def test_taps_change_what_consumers_and_outputs_see() -> None:
    taps = {"image": Scale(0.5), "features": Scale(3.0), "head.weight": Scale(2.0), "one": Scale(4.0)}
    module = build_module(_graph(), taps)
    x = torch.randn(2, 3, 8, 8)
    net = _network()
    features = 3 * net["stem"](x / 2).clamp(0, 6)  # type: ignore[index]
    head = net["head"]  # type: ignore[index]
    want = (features + 4).mean((2, 3)) @ (2 * head.weight).t() + head.bias
    logits, seen = module(x)
    torch.testing.assert_close(logits, want)
    torch.testing.assert_close(seen, features)
    assert module.meta["tap_names"]["taps.head_weight"] == "head.weight"
    assert module.get_submodule("taps.features") is taps["features"]


def test_taps_receive_gradients() -> None:
    module = build_module(_graph(), {"features": Scale(1.0), "head.weight": Scale(1.0)})
    module(torch.randn(2, 3, 8, 8))[0].sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name


def test_bypassed_node_returns_its_first_input_through_its_tap() -> None:
    x = torch.randn(2, 3, 8, 8)
    conv = _network()["stem"](x)  # type: ignore[index]
    torch.testing.assert_close(build_module(_graph(), bypass={"act"})(x)[1], conv)
    torch.testing.assert_close(build_module(_graph(), {"features": Scale(2.0)}, {"act"})(x)[1], 2 * conv)


def test_every_computed_value_has_a_node_before_and_after_its_tap() -> None:
    module = build_module(_graph(), {"features": Scale(2.0)})
    after, before = value_nodes(module), value_nodes(module, tapped=False)
    computed = {"image", "hidden", "features", "shifted", "pooled", "vector", "logits", "stem.0.weight"}
    assert computed <= set(after)
    assert after["features"].op == "call_module"
    assert before["features"].op == "call_function"
    assert after["features"].args[0] is before["features"]


def test_interpreter_sees_every_value_by_name() -> None:
    module = build_module(_graph())

    class Collector(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if "value" in n.meta:
                seen[n.meta["value"]] = result
            return result

    seen: dict[str, torch.Tensor] = {}
    x = torch.randn(1, 3, 8, 8)
    Collector(module).run(x)
    torch.testing.assert_close(seen["features"], _reference(x)[1])


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "compile"])
def test_module_survives(copied: str) -> None:
    module = build_module(_graph())
    x = torch.randn(2, 3, 8, 8)
    if copied == "deepcopy":
        other = copy.deepcopy(module)
        assert value_nodes(other).keys() == value_nodes(module).keys()
        assert other.meta["input_names"] == {"image": "image"}
    elif copied == "pickle":
        held = io.BytesIO()
        torch.save(module, held)
        held.seek(0)
        other = torch.load(held, weights_only=False)
        assert other.state_dict().keys() == module.state_dict().keys()
    else:
        other = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(other(x)[0], module(x)[0])


def test_module_runs_in_bfloat16() -> None:
    module = build_module(_graph()).bfloat16()
    x = torch.randn(2, 3, 8, 8)
    y = module(x.bfloat16())[0]
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), _reference(x)[0], rtol=0.05, atol=0.05)


def test_running_statistics_are_not_trained() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[n, 3, 4, 4] x) => (y) { y = BatchNormalization (x, "bn.scale", "bn.bias", "bn.mean", "bn.var") }
    """
    names = ("bn.scale", "bn.bias", "bn.mean", "bn.var")
    module = build_module(_graph(text, {n: np.ones(3, np.float32) for n in names}))
    assert {n for n, p in module.named_parameters() if p.requires_grad} == {"bn.scale", "bn.bias"}


def test_unknown_operator_is_named_with_its_layer_and_the_place_to_add_it() -> None:
    graph = _graph('<ir_version: 10, opset_import: ["" : 21]> net (float[2] x) => (y) { y = Unique (x) }', {})
    graph.nodes[0].metadata_props.update({ORIGIN_MODULE: "head.unique", ORIGIN_SOURCE: "model.py:41"})
    with pytest.raises(UnsupportedOpError, match=r"Unique of layer 'head\.unique' \(model\.py:41\).*ops.*table\.py"):
        build_module(graph)


SHAPES = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[n, c, 4] x) => (y, z)
<int64[1] minus = {-1}, int64[1] first = {0}, int64 two = {2}, int64 zero = {0}, int64 one = {1}, float half = {0.5}>
{
    s = Shape (x)
    n = Gather (s, first)
    doubled = Mul (n, two)
    goal = Concat <axis = 0> (doubled, minus)
    y = Reshape (x, goal)
    count = Gather (s, zero)
    line = Range (zero, count, one)
    weights = Cast <to = 1> (line)
    column = Unsqueeze (weights, minus)
    wide = Unsqueeze (column, minus)
    z = Mul (x, wide)
}
"""


def test_shape_arithmetic_follows_the_batch_and_stays_on_the_host() -> None:
    module = build_module(_graph(SHAPES, {}))
    for batch in (1, 3):
        x = torch.randn(batch, 6, 4)
        y, z = module(x)
        torch.testing.assert_close(y, x.reshape(2 * batch, -1))
        torch.testing.assert_close(z, x * torch.arange(batch).reshape(-1, 1, 1))
    assert not list(module.buffers())
    moved = [n for n in module.graph.nodes if n.op == "call_function" and n.target.__name__ == "to_device_of"]
    assert len(moved) == 1


def test_shape_arithmetic_runs_on_another_device() -> None:
    module = build_module(_graph(SHAPES, {})).to("meta")
    y, z = module(torch.empty(3, 6, 4, device="meta"))
    assert (y.shape, z.shape, z.device.type) == ((6, 12), (3, 6, 4), "meta")


AWKWARD = {
    "type.weight": "type_.weight",
    "graph": "graph_",
    "a": "a",
    "a.b": "a_.b",
    "onnx::Mul_12": "onnx::Mul_12",
    "blocks/0/w:0": "blocks/0/w:0",
    "taps.x": "taps_.x",
    "0": "0",
    "it's": "it_s",
    "x..y": "x._.y",
}


def test_names_that_torch_cannot_hold_are_replaced_and_mapped_back() -> None:
    terms = ", ".join(f'"{name}"' for name in AWKWARD)
    text = f'<ir_version: 10, opset_import: ["" : 21]> net (float[2] x) => (y) {{ y = Sum (x, {terms}) }}'
    module = build_module(_graph(text, {n: np.full(2, i, np.float32) for i, n in enumerate(AWKWARD)}))
    assert module.meta["parameter_names"] == {path: name for name, path in AWKWARD.items()}
    assert set(module.state_dict()) == set(AWKWARD.values())
    torch.testing.assert_close(module(torch.zeros(2)), torch.full((2,), 45.0))


def test_inputs_with_awkward_names_keep_their_order_and_are_mapped() -> None:
    graph = _graph(
        '<ir_version: 10, opset_import: ["" : 21]> net (float[2] a, float[2] b) => (y) { y = Sub (a, b) }', {}
    )
    graph.inputs[0].name, graph.inputs[1].name = "lambda", "serving:0"
    module = build_module(graph)
    assert module.meta["input_names"] == {"_lambda": "lambda", "serving_0": "serving:0"}
    torch.testing.assert_close(module(torch.ones(2), torch.zeros(2)), torch.ones(2))


def test_integer_initializers_are_buffers() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> net (float[4, 2] x) => (y) { y = Gather (x, "index") }'
    module = build_module(_graph(text, {"index": np.array([2, 0])}))
    assert dict(module.named_buffers())["index"].tolist() == [2, 0]
    assert not list(module.parameters())


def test_learned_scalars_of_submodules_stay_parameters() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> net (float[2] x) => (y) { y = Mul (x, "block.scale") }'
    module = build_module(_graph(text, {"block.scale": np.array(3.0, np.float32)}))
    assert [n for n, _ in module.named_parameters()] == ["block.scale"]
    module(torch.ones(2)).sum().backward()
    assert module.get_parameter("block.scale").grad == 2.0
