"""What a breadth test needs to know about a small network: how to make it and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Floats:
    """float32 values of shape (batch, *shape): noise around a level drawn for each sample and index of the first axis.

    The levels survive global pooling, so that the outputs for two samples differ.
    """

    shape: tuple[int, ...]

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        levels = torch.randn((batch, self.shape[0], *(1 for _ in self.shape[1:])), generator=generator)
        return levels + torch.randn((batch, *self.shape), generator=generator)


@dataclass(frozen=True)
class Tokens:
    """int64 token ids below ``vocabulary``, shape (batch, length)."""

    length: int
    vocabulary: int

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, self.vocabulary, (batch, self.length), generator=generator)


Arguments = tuple[tuple[Tensor, ...], dict[str, Tensor]]
"""Positional and keyword arguments of ``forward``."""


@dataclass(frozen=True)
class Case:
    """``make`` builds the network; ``inputs`` names what its forward takes, in that order.

    The inputs named in ``keywords`` are passed by keyword, the others by position. ``outputs`` counts its outputs.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Floats | Tokens]
    keywords: tuple[str, ...] = ()
    outputs: int = 1

    def build(self, seed: int = 0) -> nn.Module:
        """The network in eval mode: seeded weights, uneven norm parameters and BatchNorm statistics of its inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.make()
            _vary_norms(module)
            _average_all_batches(module)
            module.train()
            with torch.no_grad():
                for step in range(8):
                    args, kwargs = self.example(16, seed=1000 + step)
                    module(*args, **kwargs)
        return module.eval()

    def example(self, batch: int = 2, seed: int = 0) -> Arguments:
        """Arguments for one forward call."""
        drawn = self._draw(batch, seed)
        positional = tuple(value for name, value in drawn.items() if name not in self.keywords)
        return positional, {name: drawn[name] for name in self.keywords}

    def batches(self, count: int, batch: int = 1, seed: int = 1) -> list[dict[str, np.ndarray]]:
        """Data for calibration or evaluation: ``count`` batches as arrays by input name."""
        draws = (self._draw(batch, seed + step) for step in range(count))
        return [{name: value.numpy() for name, value in drawn.items()} for drawn in draws]

    def _draw(self, batch: int, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {name: spec.draw(batch, generator) for name, spec in self.inputs.items()}


def _average_all_batches(module: nn.Module) -> None:
    """Let BatchNorm's statistics be those of all batches seen, not mixed with 0 and 1: signals keep their size."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None


def _vary_norms(module: nn.Module) -> None:
    """Give every normalization layer a scale and a shift that are not one and zero, so that losing them shows."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
    for layer in module.modules():
        if isinstance(layer, kinds) and layer.weight is not None:
            nn.init.uniform_(layer.weight, 0.6, 1.4)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
