"""Steps that choose encodings and weights of the quantized model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.analytic_bias_correction import correct_biases_analytically
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.ptq.choose_ranges import choose_ranges, from_observers, scaled
from hexaquant.ptq.rounding.apply import round_weights
from hexaquant.ptq.rounding.reconstruct import Training, reconstruct_blocks
from hexaquant.ptq.rounding.solve import METHODS, Method
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.calibrate import calibrate, protect_from_overflow
from hexaquant.sim.model import QuantizedModel

# Step: ranges of activations from data, ranges of weights from their values (sim/calibrate.py).


@dataclass(frozen=True)
class Calibrate:
    """``observer``: of activations ("percentile:99.9" with its value); ``weight_observer``: min_max, mse, or auto (mse
    below 8 bits)."""

    observer: str = "mse"
    weight_observer: str = "auto"

    title: ClassVar[str] = "calibrate"

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Set every encoding. Raises InputError for empty data and for NaN or infinite values, naming the tensor."""
        seen = calibrate(model, batches(), observer=self.observer, weight_observer=self.weight_observer, events=events)
        return StepReport(self.title, seen, asdict(self))


# Step: the range of each activation from the observer that hurts the layers reading it least (ptq/ranges).


@dataclass(frozen=True)
class ChooseRanges:
    """``observers``: that propose a range for each tensor; ``samples``: on which the proposals are compared."""

    observers: tuple[str, ...] = ("min_max", "mse", "percentile", "sqnr")
    samples: int = 32

    title: ClassVar[str] = "choose ranges"

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.observers:
            raise InputError("choose_ranges takes at least one observer and one sample")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Encodings of observed activations change, nothing else. Raises InputError for an unknown observer."""
        candidates = from_observers(model, batches(), self.observers, events)
        seen, changed = choose_ranges(model, batches(), candidates, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"tensors": len(candidates), "layers": [asdict(r) for r in changed]})


# Step: activation ranges made a little wider or narrower where the rounded layers reading them gain (ptq/ranges).


@dataclass(frozen=True)
class RefineRanges:
    """``factors``: on the present range, which is kept in a draw; ``samples``: on which they are compared."""

    factors: tuple[float, ...] = (0.7, 0.8, 0.88, 0.94, 1.06)
    samples: int = 32

    title: ClassVar[str] = "refine ranges"

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.factors or min(self.factors) <= 0:
            raise InputError("refine_ranges takes at least one sample and one factor, all of them above 0")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Encodings of observed activations change, nothing else; biases are best corrected afterwards."""
        candidates = scaled(model, self.factors)
        seen, changed = choose_ranges(model, batches(), candidates, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"tensors": len(candidates), "layers": [asdict(r) for r in changed]})


# Step: weight rounding on second moments (ptq/rounding).


@dataclass(frozen=True)
class RoundWeights:
    """``method``: how integers are chosen; ``search_clips``: search each row's range by output error first.

    ``sweeps``, ``refit_scale``: of coordinate descent; ``iterations``: of adaround and flexround; ``columns``: outputs
    of each layer that are looked at, at least; ``samples``: the most that are used, those beyond 64 by layers that have
    few outputs per sample; ``seed``: of the choice of outputs.
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


# Step: rounding and biases of whole blocks learned on their output (ptq/rounding/reconstruct.py).


@dataclass(frozen=True)
class ReconstructBlocks:
    """``iterations`` a block on ``batch`` samples each; ``rate``: of learning; ``drop``: QDrop's probability, 0 is
    BRECQ; ``samples``: how many are used; ``seed``: of their order. Put it after round_weights."""

    iterations: int = 100
    batch: int = 8
    rate: float = 0.1
    drop: float = 0.5
    samples: int = 64
    seed: int = 0

    title: ClassVar[str] = "reconstruct blocks"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"reconstruct_blocks: '{name}' is at least 1, not {getattr(self, name)}")
        if not 0 <= self.drop < 1 or self.rate <= 0:
            raise InputError("reconstruct_blocks: 'drop' is at least 0 and below 1, 'rate' above 0")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Weights and biases of blocks whose held-out error drops; the others stay as they were."""
        training = Training(self.iterations, self.batch, self.rate, self.drop, self.seed)
        seen, blocks = reconstruct_blocks(model, batches(), training, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"layers": [asdict(block) for block in blocks]})


# Step: bias correction, empirical (ptq/bias_correction.py) or analytic (ptq/analytic_bias_correction.py).


@dataclass(frozen=True)
class CorrectBiases:
    """``method``: measured on data, or computed from the BatchNormalizations that were folded into the layers.

    ``samples``: how many are held at once by the empirical method.
    """

    samples: int = 32
    method: Literal["empirical", "analytic"] = "empirical"

    title: ClassVar[str] = "correct biases"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"bias correction takes at least one sample, not {self.samples}")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Nothing happens to a network without int32 biases (float16 schemes)."""
        if not any(plan.how == "derived" for plan in model.plan):
            return StepReport(self.title, 0)
        if self.method == "analytic":
            return StepReport(self.title, 0, {"method": self.method, "layers": correct_biases_analytically(model)})
        layers = correct_biases(model, batches(), samples=self.samples, events=events)
        return StepReport(self.title, self.samples, {"layers": [asdict(layer) for layer in layers]})


# Step: gain and shift of each channel in closed form (ptq/bias_correction.py).


@dataclass(frozen=True)
class RefitOutputs:
    """``samples``: how many are held at once. Put it after steps that round weights: the integers stay."""

    samples: int = 32

    title: ClassVar[str] = "refit outputs"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"refit_outputs takes at least one sample, not {self.samples}")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Scales of weights and biases change. Nothing happens to a network without int32 biases (float16)."""
        if not any(plan.how == "derived" for plan in model.plan):
            return StepReport(self.title, 0)
        layers = correct_biases(model, batches(), samples=self.samples, refit_gain=True, events=events)
        protected = protect_from_overflow(model)
        details = {"layers": [asdict(layer) for layer in layers], "protected_from_overflow": protected}
        return StepReport(self.title, self.samples, details)
