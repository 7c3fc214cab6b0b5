"""The best state of a run by a score on data that it does not train on, and when to stop waiting for a better one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.ranks import of_first
from hexaquant.qat.checkpoint import Position
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class Validation:
    """``score(model)``: larger is better; asked every ``every`` steps and after the last.

    ``patience``: scores without improvement after which the run ends, None for never. ``name``: for display.
    """

    score: Callable[[QuantizedModel], float]
    every: int
    patience: int | None = None
    name: str = "score"

    def __post_init__(self) -> None:
        if self.every < 1 or (self.patience is not None and self.patience < 1):
            raise InputError("validation takes place every 1 or more steps, and patience is 1 or more of them")


class Best:
    """Keeps the state of the model at its best score."""

    def __init__(self, validation: Validation) -> None:
        self.validation = validation
        self.state: dict[str, Tensor] = {}

    def is_due(self, position: Position, steps: int) -> bool:
        """Whether the model is to be scored at ``position``."""
        return position.step % self.validation.every == 0 or position.step == steps

    @torch.no_grad()
    def judge(self, model: QuantizedModel, position: Position) -> float:
        """Score ``model`` in evaluation mode and take note in ``position``; keeps the state if it is the best."""
        training = model.training
        model.eval()
        score = of_first(float(self.validation.score(model)))
        model.train(training)
        best = max((value for _, value in position.scores), default=None)
        position.scores.append((position.step, score))
        if best is None or score > best:
            position.best_step = position.step
            position.waited = 0
            self.state = {name: t.detach().clone() for name, t in model.state_dict().items()}
        else:
            position.waited += 1
        patience = self.validation.patience
        position.stopped = patience is not None and position.waited >= patience
        return score
