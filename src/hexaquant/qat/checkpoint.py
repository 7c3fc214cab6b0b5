"""A training run on disk: one safetensors file, so that weights, optimizer, RNG and position appear together.

Tensors are named "model.<parameter>", "ema.<parameter>", "optimizer.<index>.<state>" and "rng"; the file's metadata
holds one JSON document under "run" (position, losses, fingerprint of what the run is).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import InputError


@dataclass
class Position:
    """Where a run stands: ``step`` optimizer steps done, ``batch`` batches of ``epoch`` read, the loss of each step."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    losses: list[float] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: dict[str, Tensor],
    position: Position,
    fingerprint: str,
) -> None:
    """Write ``path`` atomically."""
    tensors: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    tensors |= {f"ema.{name}": t for name, t in ema.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors["rng"] = torch.get_rng_state()
    flat = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    run = json.dumps({"fingerprint": fingerprint, "position": asdict(position)})
    with atomic_path(path) as temporary:
        save_file(flat, temporary, metadata={"run": run})


@torch.no_grad()
def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: dict[str, Tensor],
    fingerprint: str,
) -> tuple[Position, Tensor]:
    """Continue from ``path``: fills the arguments in place, returns the position and torch's RNG state.

    Raises InputError when the file is damaged or belongs to a run that started elsewhere or with other settings.
    """
    try:
        with safe_open(path, "pt") as file:
            run = json.loads((file.metadata() or {})["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"checkpoint {path} cannot be read ({error}); delete it to start again") from None
    if run["fingerprint"] != fingerprint:
        raise InputError(
            f"checkpoint {path} is of another run (model, encodings or settings differ); delete it or name another file"
        )
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[f"model.{name}"])
    for name, shadow in ema.items():
        shadow.copy_(tensors[f"ema.{name}"])
    _load_optimizer(optimizer, tensors)
    return Position(**run["position"]), tensors["rng"]


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
