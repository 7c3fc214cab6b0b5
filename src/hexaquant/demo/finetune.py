"""The demo's quantization-aware training: the deployment graph is drawn towards the FP32 network, without labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hexaquant as hq
from hexaquant.core.events import Events
from hexaquant.demo.data import Images, normalized
from hexaquant.folder.artifacts import Model
from hexaquant.ir.graph import Graph

BATCH = 64
RATE = 3e-3
"""Learning rate of weights (relative to their size) and of encodings."""


class ShuffledImages:
    """Batches of normalized images in an order drawn from torch's generator, anew each pass."""

    def __init__(self, images: Images, name: str, batch: int = BATCH) -> None:
        self.images = images
        self.name = name
        self.batch = batch

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        order = torch.randperm(len(self.images)).numpy()
        for start in range(0, len(self) * self.batch, self.batch):
            yield {self.name: normalized(self.images[order[start : start + self.batch]])}


@dataclass(frozen=True)
class Training:
    """``epochs``: passes over the training images, or a part of one."""

    target: str
    scheme: str
    epochs: float


def deploy_trained(
    graph: Graph,
    images: Images,
    calibration: Any,
    evaluation: Any,
    out: Path,
    how: Training,
    events: Events,
) -> dict[str, Any]:
    """Quantize ``graph``, train it on ``images``, compile and verify it in ``out``.

    Returns the report of :func:`hexaquant.verify`. A run that was interrupted, or that is repeated, goes on from
    the checkpoint in ``out``.
    """
    model: Model = hq.quantize(graph, calibration, target=how.target, scheme=how.scheme, events=events)
    data = ShuffledImages(images, graph.inputs[0].name or "image")
    hq.finetune(
        model,
        data,
        loss="kl",
        steps=max(1, round(how.epochs * len(data))),
        batch_size=BATCH,
        lr=RATE,
        encoding_lr=RATE,
        checkpoint=out / ".state" / "qat.safetensors",
        events=events,
    )
    model.export(out)
    hq.compile(out, force=False, events=events)
    return hq.verify(out, evaluation, model=model, events=events)
