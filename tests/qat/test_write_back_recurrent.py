"""Trained LSTM and GRU layers, whole or (on v68) unrolled, go back into the user's module as what they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hexaquant as hq
from hexaquant.folder.artifacts import Model
from hexaquant.sim.write_back_recurrent import step_biases

X = torch.randn(8, 3, 6, generator=torch.Generator().manual_seed(0))


class Tagger(nn.Module):
    """A recurrent layer over three steps and a Linear on its last one."""

    def __init__(self, kind: type[nn.RNNBase], **options: bool | int) -> None:
        super().__init__()
        self.rnn = kind(6, 5, batch_first=True, **options)  # type: ignore[arg-type]
        self.head = nn.Linear(10 if options.get("bidirectional") else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.rnn(x)
        return self.head(steps[:, -1])


CASES: list[tuple[type[nn.RNNBase], dict[str, bool | int]]] = [
    (nn.LSTM, {"num_layers": 2}),
    (nn.GRU, {"bidirectional": True}),
    (nn.LSTM, {"bias": False}),
]
WHOLE, UNROLLED = "sm8650", "sm8350"
"""Targets: one with float16, and one without."""


@pytest.mark.parametrize("target", [WHOLE, UNROLLED])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_module_computes_the_trained_network(
    kind: type[nn.RNNBase], options: dict[str, bool | int], target: str
) -> None:
    torch.manual_seed(0)
    module = Tagger(kind, **options).eval()
    model = hq.quantize(module, [X], target=target, recipe="plain", example_inputs=(X,))
    assert (kind.__name__ in {node.op_type for node in model.source_graph.nodes}) == (target == WHOLE)
    biased = options.get("bias", True)
    learn_weights(model, biases=bool(biased))
    with torch.no_grad(), model.float_mode():
        expected = model(X)
    before = module(X).detach()
    report = model.write_back(module)
    assert float((before - expected).abs().max()) > 1e-2
    torch.testing.assert_close(module(X).detach(), expected, rtol=1e-5, atol=1e-5)
    assert report.left == {}
    assert set(report.written) == {n for n, _ in module.named_parameters()}


def learn_weights(model: Model, biases: bool) -> None:
    """Move what training moves."""
    steps = step_biases(model.source_graph)
    with torch.no_grad():
        for name, p in model.parameters_by_name().items():
            trained = name in model.plan.tensors and model.plan[name].role in ("weight", "bias")
            if trained and name not in steps and (biases or not name.startswith("rnn.bias")):
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("target", [WHOLE, UNROLLED])
def test_training_leaves_the_layer_one_that_can_be_written_back(target: str) -> None:
    torch.manual_seed(0)
    module = Tagger(nn.LSTM).eval()
    model = hq.quantize(module, [X], target=target, recipe="plain", example_inputs=(X,))
    before = module.rnn.weight_hh_l0.detach().clone()
    hq.finetune(model, [X], steps=2, batch_size=8, lr=1e-2)
    with torch.no_grad(), model.float_mode():
        expected = model(X)
    assert model.write_back(module).left == {}
    assert not torch.equal(module.rnn.weight_hh_l0.detach(), before), "the recurrent weights were trained"
    torch.testing.assert_close(module(X).detach(), expected, rtol=1e-5, atol=1e-5)


def test_biases_that_differ_from_step_to_step_are_named() -> None:
    torch.manual_seed(0)
    module = Tagger(nn.LSTM).eval()
    model = hq.quantize(module, [X], target=UNROLLED, recipe="plain", example_inputs=(X,))
    names = sorted(step_biases(model.source_graph))
    with torch.no_grad():
        model.parameters_by_name()[names[0]].add_(0.3)
    before = module.rnn.bias_hh_l0.detach().clone()
    report = model.write_back(module)
    assert set(report.left) == set(names) and "mean" in report.left[names[0]]
    torch.testing.assert_close(module.rnn.bias_hh_l0.detach(), before + 0.3 / len(names))
