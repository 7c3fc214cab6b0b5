"""Losses without labels: the simulation is drawn towards the outputs of the FP32 network.

Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531) for "kl". "mse" is the noise-to-signal
ratio of the outputs, the very number that SQNR is the logarithm of; it fits every kind of output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hexaquant.core.errors import InputError
from hexaquant.core.ranks import total
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph

Outputs = tuple[Tensor, ...]
Distance = Callable[[Outputs, Outputs], Tensor]


class Teacher:
    """The FP32 network ``graph``, without gradients. Called with inputs by name it returns all float outputs.

    ``taps``: modules that pass inner tensors on, by the tensors' names.
    """

    def __init__(self, graph: Graph, taps: Mapping[str, nn.Module] | None = None) -> None:
        self.inputs = [value.name or "" for value in graph.inputs]
        self.module = build_module(graph, taps).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        missing = [name for name in self.inputs if name not in batch]
        if missing:
            raise InputError(f"the reference has an input '{missing[0]}' that the model lacks: give its FP32 graph")
        first = next(iter(batch.values()), None)
        if first is not None:
            self.module.to(first.device)
        return as_tuple(self.module(*(batch[name] for name in self.inputs)))


def as_tuple(outputs: Any) -> Outputs:
    """The outputs of a network as a tuple, whether it has one or several."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def relative_mse(student: Outputs, teacher: Outputs) -> Tensor:
    """Mean over the float outputs of mean (s - t)^2 / mean t^2: 10^(-SQNR / 10). The latter is that of all ranks."""
    pairs = [(s, t) for s, t in zip(student, teacher, strict=True) if t.is_floating_point()]
    return torch.stack([(s - t).square().mean() / _mean_square(t).clamp(min=1e-12) for s, t in pairs]).mean()


def _mean_square(t: Tensor) -> Tensor:
    count = torch.tensor(float(t.numel()), device=t.device)
    power, elements = total(torch.stack([t.detach().square().sum(), count]))
    return power / elements


def kl_divergence(student: Outputs, teacher: Outputs) -> Tensor:
    """Mean over samples of KL(teacher || student), the last dimension being logits of classes; summed over outputs."""
    terms = []
    for s, t in zip(student, teacher, strict=True):
        log_s, log_t = (functional.log_softmax(x.reshape(-1, x.shape[-1]), dim=-1) for x in (s, t))
        terms.append(functional.kl_div(log_s, log_t, reduction="batchmean", log_target=True))
    return torch.stack(terms).sum()


DISTANCES: dict[str, Distance] = {"mse": relative_mse, "kl": kl_divergence}


def find_distance(name: str) -> Distance:
    """The distance called ``name``. Raises InputError listing what exists."""
    if name not in DISTANCES:
        raise InputError(f"unknown distillation loss '{name}': known are {', '.join(DISTANCES)}, or give a function")
    return DISTANCES[name]
