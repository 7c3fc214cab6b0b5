"""A short training loop for a calibrated QuantizedModel: weights, biases and encodings, on the deployment graph.

AdamW (Loshchilov and Hutter, arXiv:1711.05101), weights with rates relative to their size, encodings without decay;
cosine schedule after a linear warm-up. BatchNorm was folded at import, so there are no statistics to keep.

Deterministic: torch's generator is seeded anew at the start of each epoch (and put back afterwards), so that a
DataLoader that shuffles with it gives the same order when a run resumes. Randomness of numpy or of Python in the
user's data is the user's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.qat.checkpoint import Position, load_checkpoint, save_checkpoint
from hexaquant.qat.learn import freeze_encodings, learn_encodings
from hexaquant.sim.model import QuantizedModel

Labelled = tuple[Mapping[str, Any], Any]
Batches = Callable[[int], Iterable[Labelled]]
"""Epoch -> (inputs by name, labels or None) of each batch."""
Criterion = Callable[[Mapping[str, Tensor], Any, Tensor | None], Tensor]
"""(inputs by name, the model's outputs, labels or None) -> the loss, a scalar."""

TASK = "finetune"


@dataclass(frozen=True)
class Settings:
    """``lr`` for weights and biases, relative to the size of each tensor; ``encoding_lr`` for log scales and offsets
    (1e-3 is one per mille of a range).

    ``warmup``: share of the steps; ``ema``: decay of an exponential moving average of all trained parameters, which
    then is the result; ``clip_norm``: largest norm of the weights' gradient; ``learn``: globs of tensors whose
    encodings are trained, none for plain straight-through training on the PTQ ranges.
    """

    steps: int
    lr: float = 1e-3
    encoding_lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: float = 0.1
    ema: float | None = None
    clip_norm: float | None = None
    learn: tuple[str, ...] = ("*",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"finetuning takes at least one step, not {self.steps}")
        if not (self.lr >= 0 and self.encoding_lr >= 0 and 0 <= self.warmup < 1):
            raise InputError("learning rates must not be negative; warmup is a share of the steps, from 0 to below 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"ema is a decay between 0 and 1 such as 0.99, not {self.ema}")


@dataclass(frozen=True)
class Finetuned:
    """What a run did. ``losses``: of every step; ``raised``: weights whose scale the target's int32 sums forbade."""

    steps: int
    losses: tuple[float, ...]
    resumed_from: int
    raised: tuple[str, ...]


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Learning rate of ``step`` (from 0) relative to the largest: linear up, then half a cosine down."""
    rising = int(steps * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def finetune_model(
    model: QuantizedModel,
    batches: Batches,
    criterion: Criterion,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 100,
    events: Events | None = None,
) -> Finetuned:
    """Train ``model`` (calibrated, quantizers on) in place; afterwards its encodings are frozen at the trained ones.

    With ``checkpoint`` the run is written there every ``checkpoint_every`` steps and at the end, and continues from
    there when the file exists. Raises InputError when the data is empty, when the loss is not finite, or for a
    checkpoint of another run.
    """
    if settings.learn:
        learn_encodings(model, settings.learn)
    run = _Run(model, settings, checkpoint, checkpoint_every, events or Events())
    with torch.random.fork_rng(devices=[]):
        resumed = run.resume()
        run.train(batches, criterion)
    run.take_average()
    raised = freeze_encodings(model)
    return Finetuned(run.position.step, tuple(run.position.losses), resumed, tuple(raised))


class _Run:
    """The state of one run."""

    def __init__(
        self, model: QuantizedModel, settings: Settings, checkpoint: Path | None, every: int, events: Events
    ) -> None:
        self.model, self.settings, self.events = model, settings, events
        self.checkpoint, self.every = checkpoint, max(1, every)
        self.position = Position()
        self.rng: Tensor | None = None
        self.weights = trainable_weights(model)
        groups: list[dict[str, Any]] = [{"params": [p], "weight_decay": settings.weight_decay} for p in self.weights]
        groups.append({"params": model.encoding_parameters(), "weight_decay": 0.0})
        self.rates = [settings.lr * typical_size(p) for p in self.weights] + [settings.encoding_lr]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr)
        trained = {id(p) for group in groups for p in group["params"]}
        self.trained = {name: p for name, p in model.named_parameters() if id(p) in trained}
        self.average = {} if settings.ema is None else {n: p.detach().clone() for n, p in self.trained.items()}
        self.fingerprint = "" if checkpoint is None else run_fingerprint(model, settings)

    def resume(self) -> int:
        """Continue from the checkpoint if there is one; returns the step."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return 0
        found = load_checkpoint(self.checkpoint, self.model, self.optimizer, self.average, self.fingerprint)
        self.position, self.rng = found
        self.events.note(TASK, f"continues at step {self.position.step} of {self.settings.steps}")
        return self.position.step

    def train(self, batches: Batches, criterion: Criterion) -> None:
        total, saved = self.settings.steps, self.position.step
        self.events.emit(Event("start", TASK, total=total))
        try:
            for batch, labels in self._batches(batches):
                loss = self._step(batch, labels, criterion)
                self.position.losses.append(loss)
                self.position.step += 1
                done = self.position.step
                self.events.emit(Event("progress", TASK, done=done, total=total, data={"loss": loss}))
                if done % self.every == 0 or done == total:
                    self._save()
                    saved = done
        finally:
            self.events.emit(Event("end", TASK, done=self.position.step, total=total, data={"saved": saved}))

    def _batches(self, batches: Batches) -> Iterator[Labelled]:
        """Batches of epoch after epoch, from the position on until all steps are done."""
        position = self.position
        while position.step < self.settings.steps:
            torch.manual_seed(self.settings.seed * 1_000_003 + position.epoch)
            passed, number = position.batch, 0
            for number, item in enumerate(batches(position.epoch), 1):
                if number <= passed:
                    if number == passed and self.rng is not None:
                        torch.set_rng_state(self.rng)
                    continue
                position.batch = number
                yield item
                if position.step >= self.settings.steps:
                    return
            if number == 0:
                raise InputError("the training data is empty: give at least one sample")
            position.epoch, position.batch = position.epoch + 1, 0

    def _step(self, batch: Mapping[str, Any], labels: Any, criterion: Criterion) -> float:
        device = self.weights[0].device if self.weights else None
        inputs = {name: torch.as_tensor(value, device=device) for name, value in batch.items()}
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            target = None if labels is None else torch.as_tensor(labels, device=device)
            loss = criterion(inputs, self.model(**inputs), target)
            if not bool(torch.isfinite(loss)):
                raise InputError(
                    f"the loss is {float(loss.detach())} at step {self.position.step}: lower lr and encoding_lr"
                )
            loss.backward()
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.settings.clip_norm)
        factor = rate_factor(self.position.step, self.settings.steps, self.settings.warmup)
        for group, rate in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = rate * factor
        self.optimizer.step()
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """Young averages forget faster: the decay grows from 0.1 to its final value."""
        done = self.position.step
        decay = min(self.settings.ema or 0.0, (1 + done) / (10 + done))
        for name, shadow in self.average.items():
            shadow.lerp_(self.trained[name], 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Put the moving average, if there is one, in place of the trained parameters."""
        for name, shadow in self.average.items():
            self.trained[name].copy_(shadow)

    def _save(self) -> None:
        if self.checkpoint is not None:
            state = (self.model, self.optimizer, self.average, self.position, self.fingerprint)
            save_checkpoint(self.checkpoint, *state)


def trainable_weights(model: QuantizedModel) -> list[torch.nn.Parameter]:
    """Weights and biases of the plan; constants of other operators (means, tables, bounds) are not trained."""
    parameters = model.parameters_by_name()
    return [p for n, p in parameters.items() if n in model.plan.tensors and model.plan[n].role in ("weight", "bias")]


def typical_size(p: Tensor) -> float:
    """Root mean square of ``p``, at least 1e-3, by which learning rates are multiplied.

    A step of Adam has the size of the learning rate whatever the weights' size, and that differs by orders of
    magnitude between layers: relative steps as in Adafactor (Shazeer and Stern, arXiv:1804.04235, section 8).
    """
    return max(float(p.detach().square().mean().sqrt()), 1e-3)


def run_fingerprint(model: QuantizedModel, settings: Settings) -> str:
    """SHA-256 (hex) of ``settings`` and of all numbers that the run starts from."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
