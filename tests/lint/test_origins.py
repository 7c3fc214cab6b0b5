"""Findings on a PyTorch network name the module and the user's own source line."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from hexaquant.api.lint import lint


class WrittenOutGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.act, self.norm = nn.Linear(8, 16), WrittenOutGelu(), nn.RMSNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(self.up(x)))


def test_a_finding_names_module_and_line() -> None:
    found = lint(Net().eval(), example_inputs=(torch.randn(2, 5, 8),))
    (gelu,) = found.of("decomposed-gelu")
    line = inspect.getsourcelines(WrittenOutGelu.forward)[1] + 1
    assert gelu.layer.module == "act" and gelu.layer.source == f"{Path(__file__).name}:{line}"
    assert [f.layer.module for f in found.of("decomposed-rmsnorm")] == ["norm"]
    assert not [f for f in found.findings if f.severity != "info"], found.findings
