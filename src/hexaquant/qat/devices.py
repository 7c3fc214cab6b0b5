"""Which accelerators the training loop runs on, and each process's part of a batch."""

from __future__ import annotations

import os
from typing import Any

from hexaquant.core import ranks
from hexaquant.core.errors import EnvironmentLacksError, InputError

SHARDING = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "TP")
"""Accelerate's names of strategies that split parameters over the processes."""


def check_accelerator(accelerator: Any) -> None:
    """Raise InputError for an accelerator with which the loop cannot work."""
    if accelerator is None:
        return
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    if kind in SHARDING:
        raise InputError(
            f"{kind} splits each parameter over the processes, but a quantizer needs whole channels of it: use DDP "
            "(accelerate config: multi-GPU without FSDP or DeepSpeed); the quantized model must fit one device"
        )
    if accelerator.mixed_precision == "fp16":
        raise InputError("float16 gradients underflow at the scales of encodings: use mixed_precision='bf16' or 'no'")


def accelerator_from_launch() -> Any:
    """An Accelerator when this process is one of several (accelerate launch, torchrun), else None.

    Raises EnvironmentLacksError when accelerate is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    try:
        from accelerate import Accelerator
    except ImportError:
        raise EnvironmentLacksError(
            "several processes need the package accelerate: pip install 'hexaquant[train]', or start a single one"
        ) from None
    return Accelerator()


def part_of(samples: int) -> tuple[slice, float]:
    """(this process's samples of a batch of ``samples``, its share of them); small batches go to every process."""
    world = ranks.world_size()
    rank = ranks.rank()
    if samples < world:
        return slice(0, samples), 1 / world
    first = rank * samples // world
    last = (rank + 1) * samples // world
    return slice(first, last), (last - first) / samples
