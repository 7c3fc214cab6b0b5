"""Learning rates and the optimizer of a run, and what a run is identified by."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from hexaquant.qat.batchnorm import norms_of
from hexaquant.qat.settings import Settings
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.write_back_recurrent import step_biases


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Learning rate of ``step`` (from 0) relative to the largest: linear up, then half a cosine down."""
    rising = int(steps * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def make_optimizer(
    model: QuantizedModel, settings: Settings
) -> tuple[torch.optim.Optimizer, list[float], dict[str, torch.nn.Parameter]]:
    """AdamW, the largest rate of each of its groups, and the parameters that it trains, by name."""
    weights = trainable_weights(model)
    gains = [norm.log_gain for norm in norms_of(model)]
    groups: list[dict[str, Any]] = [{"params": [p], "weight_decay": settings.weight_decay} for p in weights]
    groups += [{"params": gains, "weight_decay": 0.0}, {"params": model.encoding_parameters(), "weight_decay": 0.0}]
    rates = [settings.lr * typical_size(p) for p in weights] + [settings.lr, settings.encoding_lr]
    trained = {id(p) for group in groups for p in group["params"]}
    named = {name: p for name, p in model.named_parameters() if id(p) in trained}
    return torch.optim.AdamW(groups, lr=settings.lr), rates, named


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float], factor: float) -> None:
    """Give each group its largest rate times ``factor``."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def trainable_weights(model: QuantizedModel) -> list[torch.nn.Parameter]:
    """Weights and biases of the plan; constants of other operators (means, tables, bounds) are not trained.

    Nor are the biases that each step of an unrolled recurrent layer has: the layer would no longer be one, and the bias
    of the input projection is added at the same places.
    """
    left = step_biases(model.source_graph)
    plan = {name for name in model.plan.tensors if model.plan[name].role in ("weight", "bias")} - left
    return [p for name, p in model.parameters_by_name().items() if name in plan]


def typical_size(p: Tensor) -> float:
    """Root mean square of ``p``, at least 1e-3, by which learning rates are multiplied.

    A step of Adam has the size of the learning rate whatever the weights' size, and that differs by orders of
    magnitude between layers: relative steps as in Adafactor (Shazeer and Stern, arXiv:1804.04235, section 8).
    """
    return max(float(p.detach().square().mean().sqrt()), 1e-3)


def run_fingerprint(model: QuantizedModel, settings: Settings, identity: str) -> str:
    """SHA-256 (hex) of ``settings``, ``identity`` and of all numbers that the run starts from."""
    digest = hashlib.sha256(json.dumps([asdict(settings), identity], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
