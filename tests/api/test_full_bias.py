"""A nearly dead channel with a large bias: the target adds the products to it in int32, which must not wrap around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import hexaquant as hq


class NearlyDead(nn.Module):
    """Channels 2 and 6 are 9 plus almost nothing, channel 5 is -9 plus almost nothing; ReLU6 holds them at 6 and 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        with torch.no_grad():
            for channel, factor, bias in ((2, 9e-5, 9.0), (5, 9e-5, -9.0), (6, 5e-5, 9.0)):
                self.conv.weight[channel] *= factor
                self.conv.bias[channel] = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(self.conv(x), 0, 6)


def test_the_accumulator_of_a_full_bias_does_not_wrap_around(tmp_path: Path) -> None:
    network = NearlyDead().eval()
    x = torch.randn(16, 3, 12, 12)
    model = hq.quantize(hq.load(network, (x[:2],)), [(x,)], target="sm8650", scheme="w8a8", recipe="plain")
    model.export(tmp_path)
    hq.compile(tmp_path)
    with hq.Runtime(tmp_path / "model.sm8650.bin", workers=1) as runtime:
        on_target = np.concatenate([next(iter(runtime.run(x[i : i + 1].numpy()).values())) for i in range(4)])
    with torch.no_grad():
        simulated, exact = model(x[:4]).numpy(), network(x[:4]).numpy()
    step = 6 / 255
    assert np.abs(on_target - simulated).max() < 1.5 * step
    assert np.abs(on_target - exact)[:, [2, 5, 6]].max() < step
