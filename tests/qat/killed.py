"""A training run that dies like a process that is killed: no Python code runs any more.

python killed.py CHECKPOINT STEP      kills itself at STEP; without STEP it runs to the end
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hexaquant as hq
from hexaquant.core.events import Event, Events
from hexaquant.folder.artifacts import Model
from hexaquant.qat.finetune import Finetuned
from qat.normed import images, ptq

OPTIONS: dict[str, Any] = {
    "steps": 14,
    "batch_size": 16,
    "lr": 1e-2,
    "ema": 0.9,
    "batchnorm": "batch",
    "learn": {"x": "ema", "*.weight": "lsq", "*": "pact"},
    "freeze_oscillations": 0.002,
    "dampening": 0.1,
    "validate_every": 3,
    "checkpoint_every": 2,
}


class Augmented:
    """Batches shuffled by torch, mirrored by numpy and dimmed by Python's generator."""

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = images(80, 4)
        for index in torch.randperm(80).split(16):
            batch = samples[index].numpy()
            batch = batch[..., ::-1] if np.random.rand() < 0.5 else batch
            yield np.ascontiguousarray(batch * random.uniform(0.8, 1.2))


def train(checkpoint: Path | None, events: Events | None = None) -> tuple[Model, Finetuned]:
    """One run, from the start or from ``checkpoint``."""
    model = ptq("w4a8")
    return model, hq.finetune(
        model, Augmented(), validation=images(64, 9), checkpoint=checkpoint, events=events, **OPTIONS
    )


def main(checkpoint: Path, step: int) -> None:
    def die(event: Event) -> None:
        if event.kind == "progress" and event.task == "finetune" and event.done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    train(checkpoint, Events(die))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
