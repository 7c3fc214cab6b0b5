"""What a training run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

from hexaquant.core.errors import InputError
from hexaquant.qat.learn import MODES

BATCHNORM_BATCHES = 32
"""Batches, at most, from which BatchNorm statistics are estimated before and after training."""


class How(TypedDict, total=False):
    """The settings of a run but for its steps, with ``learn`` as users write it (:func:`settings_from`)."""

    lr: float
    encoding_lr: float
    weight_decay: float
    warmup: float
    ema: float | None
    clip_norm: float | None
    learn: Sequence[str] | Mapping[str, str]
    mode: str
    seed: int
    batchnorm: Literal["folded", "batch"]
    dampening: float
    freeze_oscillations: float | None
    precision: Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """``lr`` for weights and biases, relative to the size of each tensor; ``encoding_lr`` for log scales and offsets
    (1e-3 is one per mille of a range).

    ``warmup``: share of the steps; ``ema``: decay of an exponential moving average of all trained parameters, which
    then is the result; ``clip_norm``: largest norm of the weights' gradient; ``learn``: glob of tensor names -> mode
    of their quantizers (qat/learn.py), empty for plain straight-through training on the PTQ ranges.

    ``batchnorm``: "folded" trains the deployed weights; "batch" puts the BatchNorms that were folded at import back
    during training, with batch statistics, and folds them again at the end (qat/batchnorm.py).
    ``dampening``: lambda of oscillation dampening, 0 for none; ``freeze_oscillations``: frequency of oscillation from
    which a weight is frozen at the end of training, None for never (qat/oscillation.py).
    ``precision``: "bfloat16" runs the network under autocast; encodings and losses stay float32.
    """

    steps: int
    lr: float = 1e-3
    encoding_lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: float = 0.1
    ema: float | None = None
    clip_norm: float | None = None
    learn: Mapping[str, str] = field(default_factory=lambda: {"*": "lsq"})
    seed: int = 0
    batchnorm: Literal["folded", "batch"] = "folded"
    dampening: float = 0.0
    freeze_oscillations: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"finetuning takes at least one step, not {self.steps}")
        if not (self.lr >= 0 and self.encoding_lr >= 0 and 0 <= self.warmup < 1):
            raise InputError("learning rates must not be negative; warmup is a share of the steps, from 0 to below 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"ema is a decay between 0 and 1 such as 0.99, not {self.ema}")
        self._check_names()
        if not self.dampening >= 0:
            raise InputError(f"dampening is a factor of the loss, 0 or more, not {self.dampening}")
        if self.freeze_oscillations is not None and not 0 < self.freeze_oscillations < 1:
            raise InputError(
                f"freeze_oscillations is a frequency between 0 and 1 such as 0.01, not {self.freeze_oscillations}"
            )

    def _check_names(self) -> None:
        for mode in self.learn.values():
            if mode not in MODES:
                raise InputError(f"unknown quantizer mode '{mode}': known are {', '.join(MODES)}")
        if self.batchnorm not in ("folded", "batch"):
            raise InputError(f"batchnorm is 'folded' or 'batch', not '{self.batchnorm}'")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision is 'float32' or 'bfloat16', not '{self.precision}'")


def settings_from(steps: int, **how: Unpack[How]) -> Settings:
    """Settings of ``steps`` optimizer steps.

    ``learn``: globs of tensors whose encodings follow training in ``mode`` (default: all, "lsq"), or a map from glob to
    mode; the rest as in :class:`Settings`.
    """
    rest: dict[str, Any] = dict(how)
    learn = rest.pop("learn", ("*",))
    mode = rest.pop("mode", "lsq")
    modes = dict(learn) if isinstance(learn, Mapping) else dict.fromkeys(learn, mode)
    return Settings(steps, learn=modes, **rest)
