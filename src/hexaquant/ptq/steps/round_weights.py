"""Step: weight rounding on second moments (ptq/rounding)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.rounding.apply import round_weights
from hexaquant.ptq.rounding.solve import METHODS, Method
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class RoundWeights:
    """``method``: how integers are chosen; ``search_clips``: search each row's range by output error first.

    ``sweeps``, ``refit_scale``: of coordinate descent; ``iterations``: of adaround and flexround; ``columns``: outputs
    of each layer that are looked at, at least; ``samples``: the most that are used, those beyond 64 by layers that have
    few outputs a sample; ``seed``: of the choice of outputs.
    """

    method: Literal["coordinate_descent", "gptq", "adaround", "flexround", "nearest"] = "coordinate_descent"
    search_clips: bool = True
    sweeps: int = 4
    refit_scale: bool = True
    iterations: int = 200
    samples: int = 256
    columns: int = 8192
    seed: int = 0

    title: ClassVar[str] = "round weights"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"round_weights knows the methods {', '.join(METHODS)}, not '{self.method}'")
        for name in ("sweeps", "iterations", "samples", "columns"):
            if getattr(self, name) < 1:
                raise InputError(f"round_weights: '{name}' is at least 1, not {getattr(self, name)}")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Weights become values on their grids, biases take up the mean errors. Nothing happens in float16 layers."""
        method = Method(self.method, self.search_clips, self.sweeps, self.refit_scale, self.iterations)
        seen, layers = round_weights(
            model, batches(), method, samples=self.samples, columns=self.columns, seed=self.seed, events=events
        )
        worst = max(layers, key=lambda layer: layer.error, default=None)
        details = {"method": self.method, "layers": [asdict(layer) for layer in layers]}
        return StepReport(self.title, seen, details | ({"worst": worst.layer} if worst else {}))
