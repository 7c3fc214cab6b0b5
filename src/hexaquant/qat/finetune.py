"""A short training loop for a calibrated QuantizedModel: weights, biases and encodings, on the deployment graph.

AdamW (Loshchilov and Hutter, arXiv:1711.05101), weights with rates relative to their size, encodings without decay;
cosine schedule after a linear warm-up.

Deterministic: the generators of torch, numpy and Python are seeded anew at the start of each epoch (and put back
afterwards), so that a DataLoader that shuffles or augments with them gives the same data when a run resumes.

Several processes (Accelerate, DDP) each take a share of every batch; sums over samples, BatchNorm statistics and moving
ranges are those of the whole batch, so that the result depends on their number by the order of additions only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hexaquant.core import ranks
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.qat.batchnorm import estimate_statistics, norms_of, put_norms_back
from hexaquant.qat.checkpoint import (
    Position,
    load_checkpoint,
    load_optimizer,
    optimizer_tensors,
    save_checkpoint,
    under,
)
from hexaquant.qat.devices import check_accelerator
from hexaquant.qat.learn import freeze_encodings, learn_encodings
from hexaquant.qat.randomness import put_back_afterwards, seed_everything
from hexaquant.qat.schedule import make_optimizer, rate_factor, run_fingerprint, set_rates, trainable_weights
from hexaquant.qat.settings import BATCHNORM_BATCHES, Settings
from hexaquant.qat.stabilize import Stabilizer
from hexaquant.qat.validation import Best, Validation
from hexaquant.sim.model import QuantizedModel

Piece = tuple[Mapping[str, Any], Any, float]
"""Inputs by name and labels (or None) of this process's part of a batch, and its share of the batch's samples."""
Batches = Callable[[int], Iterable[Piece]]
"""Epoch -> its batches."""
Criterion = Callable[[Mapping[str, Tensor], Any, Tensor | None], Tensor]
"""(inputs by name, the model's outputs, labels or None) -> the loss, a scalar: a mean over samples."""

TASK = "finetune"


@dataclass(frozen=True)
class Finetuned:
    """What a run did. ``losses``: of every step; ``raised``: weights whose scale the target's int32 sums forbade.

    ``scores``: (step, score) of each validation; ``best_step``: the step whose state was kept, None without
    validation; ``stopped_early``; ``frozen``: share of weights frozen because they oscillated.
    """

    steps: int
    losses: tuple[float, ...]
    resumed_from: int
    raised: tuple[str, ...]
    scores: tuple[tuple[int, float], ...] = ()
    best_step: int | None = None
    stopped_early: bool = False
    frozen: float = 0.0


def finetune_model(
    model: QuantizedModel,
    batches: Batches,
    criterion: Criterion,
    settings: Settings,
    *,
    validation: Validation | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 100,
    accelerator: Any = None,
    identity: str = "",
    events: Events | None = None,
) -> Finetuned:
    """Train ``model`` (calibrated, quantizers on) in place; afterwards its encodings are frozen at the trained ones.

    With ``validation`` the result is the state of the best score. With ``checkpoint`` the run is written there every
    ``checkpoint_every`` steps and at the end, and continues from there when the file exists; ``identity`` says what
    else than ``settings`` a run is (loss, data). ``accelerator``: an accelerate.Accelerator, for several processes,
    devices or its mixed precision. Raises InputError when the data is empty, when the loss is not finite, for a
    checkpoint of another run and for accelerators that split the parameters.
    """
    check_accelerator(accelerator)
    log = (events or Events()) if ranks.rank() == 0 else Events()
    fingerprint = run_fingerprint(model, settings, identity) if checkpoint or ranks.world_size() > 1 else ""
    _check_same_start(fingerprint)
    with put_back_afterwards():
        _prepare(model, batches, settings)
        run = _Run(model, settings, validation, accelerator, log)
        run.file, run.every, run.fingerprint = checkpoint, max(1, checkpoint_every), fingerprint
        resumed = run.resume()
        run.train(batches, criterion)
        raised = run.finish(batches)
    position = run.position
    return Finetuned(
        position.step,
        tuple(position.losses),
        resumed,
        tuple(raised),
        tuple(position.scores),
        position.best_step,
        position.stopped,
        run.stabilizer.frozen_share(),
    )


def _check_same_start(fingerprint: str) -> None:
    """Every process must hold the same model: DistributedDataParallel sees to weights, not to encodings."""
    if len(set(ranks.gathered(fingerprint))) > 1:
        raise InputError(
            "the processes start from different models or settings: quantize on the same data in each of them, "
            "or load the same artifact folder"
        )


def _prepare(model: QuantizedModel, batches: Batches, settings: Settings) -> None:
    model.eval()
    if settings.learn:
        learn_encodings(model, settings.learn)
    if settings.batchnorm == "batch":
        put_norms_back(model, _some_inputs(batches, settings))


def _some_inputs(batches: Batches, settings: Settings) -> Iterator[Mapping[str, Any]]:
    """The inputs from which BatchNorm statistics are estimated."""
    seed_everything(settings.seed, 0)
    return (inputs for inputs, _, _ in itertools.islice(batches(0), BATCHNORM_BATCHES))


class _Run:
    """The state of one run."""

    file: Path | None
    every: int
    fingerprint: str

    def __init__(
        self,
        model: QuantizedModel,
        settings: Settings,
        validation: Validation | None,
        accelerator: Any,
        events: Events,
    ) -> None:
        self.model = model
        self.settings = settings
        self.events = events
        self.accelerator = accelerator
        self.position = Position()
        self.rng: Tensor | None = None
        self.best = None if validation is None else Best(validation)
        self.optimizer, self.rates, self.trained = make_optimizer(model, settings)
        self.weights = trainable_weights(model)
        self.network: Any = model
        if accelerator is not None:
            self.network, self.optimizer = accelerator.prepare(model, self.optimizer)
        self.stabilizer = Stabilizer(model, settings)
        self.average = {} if settings.ema is None else {n: p.detach().clone() for n, p in self.trained.items()}

    def resume(self) -> int:
        """Continue from the checkpoint if there is one; returns the step."""
        if self.file is None or not self.file.is_file():
            return 0
        tensors, self.position = load_checkpoint(self.file, self.fingerprint)
        _load_model(self.model, under("model.", tensors))
        load_optimizer(self.optimizer, under("optimizer.", tensors))
        for name, shadow in self.average.items():
            shadow.copy_(tensors[f"ema.{name}"])
        self.stabilizer.load_state(under("oscillation.", tensors))
        if self.best is not None:
            self.best.state = under("best.", tensors)
        self.rng = tensors["rng"]
        self.events.note(TASK, f"continues at step {self.position.step} of {self.settings.steps}")
        return self.position.step

    def save(self) -> None:
        """Write the checkpoint (the first process does)."""
        if self.file is None or ranks.rank() > 0:
            return
        parts: dict[str, Mapping[str, Tensor]] = {
            "model.": self.model.state_dict(),
            "optimizer.": optimizer_tensors(self.optimizer),
            "ema.": self.average,
            "oscillation.": self.stabilizer.state(),
            "best.": {} if self.best is None else self.best.state,
        }
        tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.items()}
        save_checkpoint(self.file, tensors | {"rng": torch.get_rng_state()}, self.position, self.fingerprint)

    def train(self, batches: Batches, criterion: Criterion) -> None:
        """All steps from the position on."""
        total = self.settings.steps
        saved = self.position.step
        position = self.position
        self.events.emit(Event("start", TASK, total=total))
        self.model.train()
        try:
            for piece in self._pieces(batches):
                shown = self._step(piece, criterion)
                position.losses.append(shown["loss"])
                position.step += 1
                shown |= self._validate()
                self.events.emit(Event("progress", TASK, done=position.step, total=total, data=shown))
                if position.step % self.every == 0 or position.step == total or position.stopped:
                    self.save()
                    saved = position.step
        finally:
            self.model.eval()
            self.events.emit(Event("end", TASK, done=position.step, total=total, data={"saved": saved}))

    def _pieces(self, batches: Batches) -> Iterator[Piece]:
        """Batches of epoch after epoch, from the position on until all steps are done."""
        position = self.position
        while position.step < self.settings.steps and not position.stopped:
            seed_everything(self.settings.seed, position.epoch)
            passed = position.batch
            number = 0
            for number, item in enumerate(batches(position.epoch), 1):
                if number <= passed:
                    if number == passed and self.rng is not None:
                        torch.set_rng_state(self.rng)
                    continue
                position.batch = number
                yield item
                if position.step >= self.settings.steps or position.stopped:
                    return
            if number == 0:
                raise InputError("the training data is empty: give at least one sample")
            position.epoch = position.epoch + 1
            position.batch = 0

    def _step(self, piece: Piece, criterion: Criterion) -> dict[str, float]:
        """One optimizer step; returns what is shown of it."""
        batch, labels, share = piece
        device = next(iter(self.trained.values())).device if self.trained else None
        inputs = {name: torch.as_tensor(value, device=device) for name, value in batch.items()}
        target = None if labels is None else torch.as_tensor(labels, device=device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            with self._autocast(inputs):
                outputs = self.network(**inputs)
            outputs = _widened(outputs)
            loss = criterion(inputs, outputs, target)
            seen = float(ranks.total(loss.detach() * share))
            if not torch.isfinite(torch.tensor(seen)):
                raise InputError(f"the loss is {seen} at step {self.position.step}: lower lr and encoding_lr")
            self._backward(loss * (share * ranks.world_size()) + self.stabilizer.penalty(self.position.step))
        rate = self._update()
        return {"loss": seen, "lr": rate} | _accuracy(outputs, target)

    def _backward(self, loss: Tensor) -> None:
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def _update(self) -> float:
        """From gradients to parameters; returns the rate of the weights."""
        settings = self.settings
        step = self.position.step
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, settings.clip_norm)
        factor = rate_factor(step, settings.steps, settings.warmup)
        set_rates(self.optimizer, self.rates, factor)
        self.optimizer.step()
        self.stabilizer.follow(step)
        self._average()
        return settings.lr * factor

    def _autocast(self, inputs: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
        if self.settings.precision == "bfloat16":
            device = next((t.device.type for t in inputs.values()), "cpu")
            return torch.autocast(device, torch.bfloat16)
        return nullcontext() if self.accelerator is None else self.accelerator.autocast()

    @torch.no_grad()
    def _average(self) -> None:
        """Young averages forget faster: the decay grows from 0.1 to its final value."""
        done = self.position.step
        decay = min(self.settings.ema or 0.0, (1 + done) / (10 + done))
        for name, shadow in self.average.items():
            shadow.lerp_(self.trained[name], 1 - decay)

    def _validate(self) -> dict[str, float]:
        """Score the averaged (else the present) parameters when it is time."""
        if self.best is None or not self.best.is_due(self.position, self.settings.steps):
            return {}
        self._swap_average()
        score = self.best.judge(self.model, self.position)
        self._swap_average()
        return {self.best.validation.name: score}

    @torch.no_grad()
    def _swap_average(self) -> None:
        for name, shadow in self.average.items():
            parameter = self.trained[name]
            kept = parameter.detach().clone()
            parameter.copy_(shadow)
            shadow.copy_(kept)

    def finish(self, batches: Batches) -> list[str]:
        """From the run to its result: the best state, else the average; norms folded, encodings frozen."""
        if self.best is not None and self.best.state:
            _load_model(self.model, self.best.state)
        else:
            self._swap_average()
        self.stabilizer.hold()
        if norms_of(self.model):
            self.model.train()
            estimate_statistics(self.model, _some_inputs(batches, self.settings))
            self.model.eval()
        return freeze_encodings(self.model)


def _load_model(model: QuantizedModel, state: Mapping[str, Tensor]) -> None:
    """Checkpoints leave out tensors without elements: encodings that are trained elsewhere."""
    own = model.state_dict()
    model.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})


def _widened(outputs: Any) -> Any:
    """Half-precision outputs in float32, for the loss."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
    return type(outputs)(_widened(output) for output in outputs)


def _accuracy(outputs: Any, target: Tensor | None) -> dict[str, float]:
    """Share of samples of the whole batch whose largest logit is the label's; nothing for other tasks."""
    if target is None or not isinstance(outputs, Tensor) or outputs.dim() != 2 or target.dim() != 1:
        return {}
    if target.is_floating_point() or len(target) != len(outputs):
        return {}
    right = (outputs.detach().argmax(1) == target).float()
    hits, count = ranks.total(torch.stack([right.sum(), torch.tensor(float(len(right)), device=right.device)]))
    return {"accuracy": float(hits / count)}
