"""Trains the demo's network, or loads the weights of an earlier run that trained it the same way."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hexaquant.core.atomic import atomic_path
from hexaquant.core.events import Event, Events
from hexaquant.demo import data, network
from hexaquant.demo.network import DemoNet

TASK = "train"


@dataclass(frozen=True)
class TrainConfig:
    """AdamW under a one-cycle schedule. ``samples`` limits the training set (None: all of it)."""

    seed: int = 0
    epochs: int = 5
    batch: int = 64
    peak_rate: float = 1e-2
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    samples: int | None = None
    threads: int = 2

    def key(self) -> str:
        """Hash of all that decides the weights: these values, the network's source and the data's checksums."""
        parts = json.dumps(asdict(self)) + inspect.getsource(network) + (data.FOLDER / "index.json").read_text()
        return hashlib.sha256(parts.encode()).hexdigest()


def trained_network(path: Path, config: TrainConfig | None = None, events: Events | None = None) -> DemoNet:
    """The trained network in eval mode, from ``path`` (safetensors) when it holds this config's weights.

    Otherwise it is trained and ``path`` written atomically.
    """
    config = config or TrainConfig()
    events = events or Events()
    net = DemoNet()
    if _stored_key(path) == config.key():
        net.load_state_dict(load_file(path))
        events.note(TASK, f"weights of an earlier run loaded from {path}")
        return net.eval()
    net = train(config, events)
    with atomic_path(path) as temporary:
        weights = {name: value.contiguous() for name, value in net.state_dict().items()}
        save_file(weights, temporary, metadata={"config": config.key()})
    return net


def train(config: TrainConfig | None = None, events: Events | None = None) -> DemoNet:
    """A network trained from scratch, in eval mode; the same config gives the same weights on the same machine."""
    config = config or TrainConfig()
    events = events or Events()
    images, labels = data.load_train()
    x = torch.from_numpy(data.normalized(images[: config.samples]))
    y = torch.from_numpy(labels[: config.samples])
    with _threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        # Channels last is the layout that oneDNN's depthwise and small convolutions are fastest in.
        net = DemoNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _fit(net, x, y, config, events)
    return net.to(memory_format=torch.contiguous_format).eval()


def logits(net: nn.Module, x: npt.NDArray[np.float32], batch: int = 500) -> npt.NDArray[np.float32]:
    """Outputs (N, 10) of ``net`` for normalized images (N, 1, 28, 28)."""
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.from_numpy(x).split(batch)]).numpy()


def _fit(net: DemoNet, x: Tensor, y: Tensor, config: TrainConfig, events: Events) -> None:
    steps = config.epochs * (len(x) // config.batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.peak_rate, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.peak_rate, steps, pct_start=0.2)
    criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    net.train()
    events.emit(Event("start", TASK, total=steps))
    step = 0
    for epoch in range(config.epochs):
        total = 0.0
        for index in _batches(len(x), config.batch):
            batch = x[index].contiguous(memory_format=torch.channels_last)
            loss = criterion(net(batch), y[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            step += 1
            events.emit(Event("progress", TASK, done=step, total=steps))
        mean = total / (len(x) // config.batch)
        events.note(TASK, f"epoch {epoch + 1} of {config.epochs}: loss {mean:.3f}", epoch=epoch + 1, loss=mean)
    events.emit(Event("end", TASK, done=step, total=steps))


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """Indices of full batches in a new random order."""
    order = torch.randperm(count)
    yield from order[: count // size * size].split(size)


def _stored_key(path: Path) -> str | None:
    """The config hash in a weights file; None when there is no such file or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("config")
    except (SafetensorError, OSError):
        return None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run PyTorch with ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
