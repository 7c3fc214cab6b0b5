"""A training run on disk: one safetensors file, so that weights, optimizer, RNG and position appear together.

Tensors are named "model.<state>", "optimizer.<index>.<state>", "rng", and by whoever else keeps state ("ema.",
"best.", "oscillation."); the file's metadata holds one JSON document under "run" (position, losses, fingerprint of
what the run is). Learning rates follow from the position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.sealed import load_sealed, save_sealed


@dataclass
class Position:
    """Where a run stands: ``step`` optimizer steps done, ``batch`` batches of ``epoch`` read, the loss of each step.

    ``scores``: (step, score) of each validation; ``best_step``: the step of the best, None before the first;
    ``waited``: validations since then; ``stopped``: whether the run ended early.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    waited: int = 0
    stopped: bool = False


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], position: Position, fingerprint: str) -> None:
    """Write ``path`` atomically."""
    flat = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items() if t.numel()}
    run = json.dumps({"fingerprint": fingerprint, "position": asdict(position)})
    save_sealed(path, flat, {"run": run})


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], Position]:
    """The tensors and the position in ``path``.

    Raises InputError when the file is damaged or belongs to a run that started elsewhere or with other settings.
    """
    try:
        tensors, metadata = load_sealed(path)
        run = json.loads(metadata["run"])
    except (KeyError, ValueError) as error:
        raise InputError(f"checkpoint {path} cannot be read ({error}); delete it to start again") from None
    if run["fingerprint"] != fingerprint:
        raise InputError(
            f"checkpoint {path} is of another run (model, encodings or settings differ); delete it or name another file"
        )
    position = Position(**run["position"])
    position.scores = [(int(step), float(score)) for step, score in position.scores]
    return tensors, position


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, without it."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as "<index>.<state>"."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, kept in state.items() for key, value in kept.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what :func:`optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
