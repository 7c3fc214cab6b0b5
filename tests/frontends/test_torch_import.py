"""PyTorch modules import with their names, their origins and their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.frontends.torch_translations import module_path, source_line
from hexaquant.ir.graph import Graph, shape_of


def onnx_outputs(graph: Graph, *tensors: torch.Tensor) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(oir.to_proto(graph.model).SerializeToString(), options)
    return session.run(None, {v.name: t.numpy() for v, t in zip(graph.inputs, tensors, strict=True)})


def assert_parity(graph: Graph, module: nn.Module, args: tuple[torch.Tensor, ...], **kwargs: torch.Tensor) -> None:
    with torch.no_grad():
        expected: Any = module.eval()(*args, **kwargs)
    expected = list(expected.values()) if isinstance(expected, dict) else expected
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    for want, got in zip(expected, onnx_outputs(graph, *args, *kwargs.values()), strict=True):
        scale = max(1.0, float(want.abs().max()))
        np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=1e-4 * scale)


def ops(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


class SamePadConv(nn.Conv2d):
    """TensorFlow's "same" padding computed in forward, as EfficientNet-Lite does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        k, s = self.kernel_size[0], self.stride[0]
        down = max((-(-height // s) - 1) * s + k - height, 0)
        right = max((-(-width // s) - 1) * s + k - width, 0)
        x = F.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.depthwise = SamePadConv(2 * width, 2 * width, 3, groups=2 * width, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.project = nn.Conv2d(2 * width, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.bn1(self.expand(x)))
        y = F.relu6(self.bn2(self.depthwise(y)))
        return x + self.bn3(self.project(y))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = SamePadConv(3, 8, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([Block(8)])
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


@pytest.fixture(scope="module")
def mobilenet() -> tuple[MobileNet, Graph]:
    torch.manual_seed(0)
    module = MobileNet()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    module.blocks[0].eval()
    flags = [m.training for m in module.modules()]
    graph = load(module, (torch.randn(1, 3, 15, 18),))
    assert [m.training for m in module.modules()] == flags
    return module, graph


def test_cnn_with_same_padding_imports_to_a_clean_graph(mobilenet: tuple[MobileNet, Graph]) -> None:
    graph = mobilenet[1]
    assert ops(graph) == [*["Conv", "Clip"] * 3, "Conv", "Add", "GlobalAveragePool", "Reshape", "Gemm"]


def test_example_of_one_still_gives_a_symbolic_batch(mobilenet: tuple[MobileNet, Graph]) -> None:
    module, graph = mobilenet
    assert shape_of(graph.inputs[0]) == ("batch", 3, 15, 18)
    assert shape_of(graph.outputs[0]) == ("batch", 5)
    for batch in (1, 3):
        assert_parity(graph, module, (torch.randn(batch, 3, 15, 18),))


def test_parameters_keep_their_names(mobilenet: tuple[MobileNet, Graph]) -> None:
    graph = mobilenet[1]
    floats = {name for name, v in graph.initializers.items() if v.shape is not None and len(v.shape)}
    weights = {n for n, _ in mobilenet[0].named_parameters() if "bn" not in n}
    assert weights <= floats
    assert {"stem.bias", "blocks.0.expand.bias", "blocks.0.depthwise.bias", "blocks.0.project.bias"} <= floats


def test_every_node_knows_its_module_and_source_line(mobilenet: tuple[MobileNet, Graph]) -> None:
    graph = mobilenet[1]
    convs = [graph.origin(n) for n in graph.nodes if n.op_type == "Conv"]
    assert [o.module for o in convs] == ["stem", "blocks.0.expand", "blocks.0.depthwise", "blocks.0.project"]
    for node in graph.nodes:
        name, _, line = graph.origin(node).source.partition(":")
        assert name == Path(__file__).name and line.isdigit()


class TwoInTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        a, b = self.a(x), self.b(x)
        return {"product": a * b * scale, "softmax": torch.softmax(a + scale, -1)}


def test_keyword_inputs_dict_outputs_and_given_names() -> None:
    module, x, scale = TwoInTwoOut(), torch.randn(2, 4), torch.randn(2, 3)
    graph = load(module, (x,), {"scale": scale}, output_names=["p", "s"])
    assert [v.name for v in graph.inputs] == ["x", "scale"]
    assert [v.name for v in graph.outputs] == ["p", "s"]
    assert_parity(graph, module, (torch.randn(5, 4),), scale=torch.randn(5, 3))
    with pytest.raises(InputError, match="has 2 inputs but 1 input names"):
        load(module, (x,), {"scale": scale}, input_names=["only"])


class Tagger(nn.Module):
    """Embedding tied to the output layer around an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(self.embedding(tokens))[0])


def test_lstm_and_tied_weights() -> None:
    module = Tagger()
    graph = load(module, (torch.randint(0, 11, (2, 3)),))
    assert "LSTM" in ops(graph) and "Expand" not in ops(graph)
    names = set(graph.initializers)
    assert {
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "lstm.bias_ih_l0.merged",
        "out.weight",
        "out.weight.folded",
    } <= names
    assert_parity(graph, module, (torch.randint(0, 11, (4, 3)),))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = ((q @ k.transpose(-1, -2)) * 0.5).softmax(-1) @ v
        return x + F.gelu(self.out(y.transpose(1, 2).reshape(batch, length, width)))


@pytest.mark.parametrize(
    "module", [Attention(), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)], ids=["hand-written", "nn"]
)
def test_transformer_blocks_import_without_shape_arithmetic(module: nn.Module) -> None:
    graph = load(module, (torch.randn(2, 5, 8),))
    assert not {"Shape", "Concat", "Expand", "Cast", "Sqrt"} & set(ops(graph))
    assert "LayerNormalization" in ops(graph)
    assert shape_of(graph.outputs[0]) == ("batch", 5, 8)
    assert_parity(graph, module, (torch.randn(3, 5, 8),))


class OnlyTwo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1) if x.shape[0] == 2 else x.reshape(3, -1) * 2


def test_batch_that_cannot_be_dynamic_is_fixed_and_noted() -> None:
    graph = load(OnlyTwo(), (torch.randn(2, 3, 4),))
    assert shape_of(graph.inputs[0]) == (2, 3, 4)
    assert "batch is fixed" in graph.model.metadata_props["hexaquant.note"]


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_two_pictures_in_one_batch_are_parted_again() -> None:
    """Optical flow joins both pictures along the batch; halves of a free batch are a sequence of computed lengths."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            first, second = torch.chunk(self.conv(torch.cat([x, y])), 2)
            return first * second

    module = Pair()
    pictures = (torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8))
    graph = load(module, example_inputs=pictures)
    assert ops(graph) == ["Concat", "Conv", "Split", "Mul"]
    assert_parity(graph, module, pictures)


def test_failed_export_names_module_cause_and_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        InputError, match=r"Branching: its forward decides.*by the values of a tensor \(at test_torch_import\.py:\d+\)"
    ):
        load(Branching(), (torch.randn(2, 3),), dynamic_batch=False)
    assert capfd.readouterr() == ("", "")


def test_module_without_examples_is_refused() -> None:
    with pytest.raises(InputError, match=r"Linear: an nn\.Module needs example_inputs"):
        load(nn.Linear(2, 2))


def test_saved_program_imports(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(module, (torch.randn(2, 4),)), tmp_path / "m.pt2")
    graph = load(tmp_path / "m.pt2")
    assert ops(graph) == ["Gemm", "Relu"] and "0.weight" in graph.initializers
    assert_parity(graph, module, (torch.randn(2, 4),))
    (tmp_path / "bad.pt2").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"bad\.pt2: not a program saved by torch\.export\.save"):
        load(tmp_path / "bad.pt2")


def test_exporter_metadata_becomes_words_of_the_user() -> None:
    assert module_path("['', 'blocks.3', 'blocks.3.conv2', 'conv2d_5']") == "blocks.3.conv2"
    assert module_path("not a list") == ""
    trace = 'File "/home/me/net/model.py", line 41, in forward\n File "/x/torch/nn/modules/conv.py", line 9, in forward'
    assert source_line(trace) == "model.py:41"


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Keep(nn.Module):
    """As detectors end: what scores enough, three at most."""

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        kept = boxes[boxes[..., 0] > 0]
        return kept[:3] if kept.shape[0] > 3 else kept


class Branch(nn.Module):
    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        return boxes if boxes.sum().item() > 0 else -boxes


@pytest.mark.parametrize("kind", [Keep, Branch])
def test_postprocessing_that_depends_on_data_is_told_to_stay_outside(kind: type[nn.Module]) -> None:
    detector = nn.Sequential(Head(), kind())
    with pytest.raises(InputError, match=r"its submodule '1' decides sizes or branches .*backbone and head alone"):
        load(detector, (torch.randn(1, 6, 8),))
    assert [value.name for value in load(detector[0], (torch.randn(1, 6, 8),)).outputs]
