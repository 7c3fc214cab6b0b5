"""The coverage proof on real lowerings: complete where it is, and failing where an encoding is another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx_ir as oir
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.analysis.coverage import prove_coverage
from hexaquant.core.errors import TargetError
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.lower import LowerReport, lower


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, LowerReport]:
    folder = tmp_path_factory.mktemp("coverage")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)).eval()
    x = torch.randn(4, 3, 8, 8)
    model = hq.quantize(net, [x], example_inputs=(x,))
    model.export(folder)
    graph = freeze_batch(Graph(oir.load(folder / "model.qdq.onnx"), "net"), 1)
    graph.save(folder / "static.onnx")
    return graph, lower(folder / "static.onnx", Path(folder) / "model.dlc", 57, 75)


def test_every_tensor_of_a_convolutional_network_arrives(lowered: tuple[Graph, LowerReport]) -> None:
    graph, report = lowered
    coverage = prove_coverage(graph, report)
    coverage.require_complete()
    tensors = {row.tensor for row in coverage.rows}
    assert {"input", "0.weight", "0.bias", "4.weight", "4.bias"} <= tensors
    assert coverage.counts()["exact"] >= 8


def test_one_changed_scale_is_named(lowered: tuple[Graph, LowerReport]) -> None:
    graph, report = lowered
    tensors = list(report.graph.tensors)
    index = next(i for i, t in enumerate(tensors) if t.quant is not None and len(t.quant.scales) == 8)
    quant = tensors[index].quant
    assert quant is not None
    scales = (quant.scales[0] * 1.0001, *quant.scales[1:])
    tensors[index] = dataclasses.replace(tensors[index], quant=dataclasses.replace(quant, scales=scales))
    changed = dataclasses.replace(report, graph=dataclasses.replace(report.graph, tensors=tuple(tensors)))
    with pytest.raises(TargetError, match="arrived as"):
        prove_coverage(graph, changed).require_complete()


def test_one_lost_tensor_is_named(lowered: tuple[Graph, LowerReport]) -> None:
    graph, report = lowered
    kept = tuple(t for t in report.graph.tensors if "4.weight" not in report.names.get(t.name, ""))
    assert len(kept) < len(report.graph.tensors)
    lost = dataclasses.replace(report, graph=dataclasses.replace(report.graph, tensors=kept))
    with pytest.raises(TargetError, match=r"'4.weight' did not arrive"):
        prove_coverage(graph, lost).require_complete()


def test_a_parameter_expanded_to_batch_one_is_absorbed(tmp_path: Path) -> None:
    """The class token of vision transformers: for a static batch of one the Expand is the identity."""

    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.head = nn.Parameter(torch.randn(1, 1, 6)), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1))

    x = torch.randn(4, 3, 6)
    hq.quantize(Token().eval(), [x], example_inputs=(x,)).export(tmp_path)
    graph = freeze_batch(Graph(oir.load(tmp_path / "model.qdq.onnx"), "net"), 1)
    graph.save(tmp_path / "static.onnx")
    coverage = prove_coverage(graph, lower(tmp_path / "static.onnx", tmp_path / "model.dlc", 57, 75))
    coverage.require_complete()
    assert "absorbed" in {row.verdict for row in coverage.rows if row.tensor == "expand"}
