"""A small torch network with BatchNorms in every place where the import deals with them differently."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

import hexaquant as hq
from hexaquant.folder.artifacts import Model


class Normed(nn.Module):
    """x (N, 3, 8, 8) -> (N, 5). ``pre`` follows no layer; ``norm2`` has no parameters; ``head`` has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.pre = nn.BatchNorm2d(3)
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6, affine=False)
        self.up, self.norm3 = nn.ConvTranspose2d(6, 4, 2, 2, groups=2), nn.BatchNorm2d(4)
        self.linear, self.norm4 = nn.Linear(4, 5), nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(self.pre(x))))
        x = torch.relu(self.norm3(self.up(self.norm2(self.conv2(x)))))
        head: Tensor = self.head(self.norm4(self.linear(x.mean((2, 3)))))
        return head


def images(count: int, seed: int = 0) -> Tensor:
    """(count, 3, 8, 8) with a level of its own for each sample and channel."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator) + torch.randn(count, 3, 1, 1, generator=generator)


def trained_module(seed: int = 0) -> Normed:
    """In evaluation mode, with statistics of 20 batches."""
    torch.manual_seed(seed)
    module = Normed()
    with torch.no_grad():
        for norm in (module.norm1, module.norm3, module.norm4):
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
        for step in range(20):
            module(images(32, step))
    return module.eval()


@functools.cache
def graph_of_trained_module() -> hq.Graph:
    """The graph of ``trained_module()``; importing it takes seconds."""
    return hq.load(trained_module(), example_inputs=(images(2),))


def ptq(scheme: str = "w8a8", graph: hq.Graph | None = None) -> Model:
    """``graph`` (of ``trained_module()``) quantized with min-max ranges.

    The target has no int4 weights for the transposed convolution in groups, which knows one scale only.
    """
    overrides = {"up": "w8a8"} if scheme == "w4a8" else None
    graph = graph or graph_of_trained_module()
    return hq.quantize(graph, [images(64, 77)], scheme=scheme, recipe="plain", overrides=overrides)
