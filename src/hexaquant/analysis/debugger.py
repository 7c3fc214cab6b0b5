"""The accuracy debugger's measurement: FP32, simulation and target, tensor by tensor, and which layer parts them.

Cumulative figures compare whole runs: they fall along the network whoever is to blame. So each layer is judged by what
it adds itself: the simulation by its encodings' noise against the least that the same number of bits could make
(analysis/excess_noise.py), the target by the simulated layer run on the target's own inputs, in steps of its grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hexaquant.analysis.compare import finite
from hexaquant.core.metrics import Sqnr
from hexaquant.ptq.target_offsets import channel_axis
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer
from hexaquant.sim.walk import Walk

DebugMode = Literal["cumulative", "isolated"]
EXCESS_DB = 4.0
"""An encoding that makes so much more noise than the best is suspect, if its peers do not do so as well."""
OWN_NOISE = 4.0
"""A kernel whose own error is so many times the noise of rounding, step^2 / 12, is suspect, if its peers' are not."""
MOST = 0.9
FEW = 8
"""An error of which this part lies in at most one in FEW channels is theirs alone."""
SPREAD = 6.0
"""How many median deviations from the median of its peers a suspect lies."""

Arrays = Mapping[str, np.ndarray]


@dataclass
class TensorErrors:
    """One computed tensor or input. ``step``: of its grid. dB are of whole runs, or of layers on given inputs."""

    name: str
    bits: int | str
    step: float | None
    fp32_sim: Sqnr = field(default_factory=Sqnr)
    sim_target: Sqnr = field(default_factory=Sqnr)
    fp32_target: Sqnr = field(default_factory=Sqnr)
    own_sum: float = 0.0
    own_count: int = 0
    own_most: float = 0.0
    own_channels: Tensor | None = None

    def add_own(self, expected: Tensor, got: Tensor) -> None:
        """The target's value against the simulated layer on the target's inputs."""
        if self.step is None or not expected.numel():
            return
        steps = (got - expected) / self.step
        self.own_sum += float(steps.square().sum())
        self.own_count += steps.numel()
        self.own_most = max(self.own_most, float(steps.abs().max()))
        if steps.dim() > 1:
            axis = channel_axis(steps.dim())
            each = steps.square().sum([other for other in range(steps.dim()) if other != axis])
            self.own_channels = each if self.own_channels is None else self.own_channels + each

    @property
    def own_rms(self) -> float:
        """Own error of the target's kernel in steps."""
        return math.sqrt(self.own_sum / self.own_count) if self.own_count else 0.0

    @property
    def own_in(self) -> list[int]:
        """The few channels that hold most of the own error, worst first; empty where it is spread over more."""
        if self.own_channels is None or not float(self.own_channels.sum()):
            return []
        order = torch.argsort(self.own_channels, descending=True)
        held = torch.cumsum(self.own_channels[order], 0) / self.own_channels.sum()
        count = int((held < MOST).sum()) + 1
        return order[:count].tolist() if count <= max(1, len(order) // FEW) else []

    @property
    def own_noise(self) -> float:
        """Power of the own error, in units of rounding noise."""
        return 12 * self.own_rms**2

    def figures(self, on_target: bool) -> dict[str, float | None]:
        """As in debug.json; None for what is identical or was not measured."""
        return {
            "sqnr_fp32_sim_db": finite(self.fp32_sim.db),
            "sqnr_sim_target_db": finite(self.sim_target.db) if on_target else None,
            "sqnr_fp32_target_db": finite(self.fp32_target.db) if on_target else None,
            "max_steps": round(self.own_most, 3) if on_target and self.own_count else None,
        }


@torch.no_grad()
def compare_tensors(
    model: QuantizedModel,
    floats: Mapping[str, Tensor],
    samples: Iterable[Mapping[str, Tensor]],
    shown: Iterable[Arrays] | None,
    mode: DebugMode,
) -> list[TensorErrors]:
    """Errors of every quantized activation in network order.

    ``samples``: batches of one, by input name; ``shown``: for each the tensors that the target shows, or None without a
    target. ``mode`` isolated: every layer on FP32's (and where the target is compared, on the target's) inputs.
    """
    float_walk = Walk(model.network, floats, on=False)
    sim_walk = Walk(model.network, floats, on=True)
    found = {name: _errors(name, model) for name in float_walk.taps if _is_activation(model, name)}
    on_target = iter(shown) if shown is not None else None
    for sample in samples:
        fp32 = float_walk.taps_of(sample)
        sim = sim_walk.taps_of(sample, fp32 if mode == "isolated" else None)
        for name, value in fp32.items():
            found[name].fp32_sim.add(value, sim[name])
        if on_target is None:
            continue
        target = {
            n: torch.from_numpy(np.array(a)).reshape(fp32[n].shape) for n, a in next(on_target).items() if n in fp32
        }
        own = sim_walk.taps_of(sample, target)
        simulated = own if mode == "isolated" else sim
        exact = float_walk.taps_of(sample, target) if mode == "isolated" else fp32
        for name, value in target.items():
            found[name].add_own(own[name], value)
            found[name].sim_target.add(simulated[name], value)
            found[name].fp32_target.add(exact[name], value)
    return list(found.values())


def _is_activation(model: QuantizedModel, name: str) -> bool:
    return isinstance(model.quantizers.get(name), ActivationQuantizer)


def _errors(name: str, model: QuantizedModel) -> TensorErrors:
    encoding = model.quantizers[name].encoding
    is_float = encoding.grid.is_float
    return TensorErrors(
        name, str(encoding.grid) if is_float else encoding.grid.bits, None if is_float else float(encoding.scale)
    )


def suspects(values: Mapping[str, float], least: float) -> list[str]:
    """Names whose value is above ``least`` and SPREAD median deviations above the median, in the given order."""
    if not values:
        return []
    numbers = np.array([v for v in values.values() if math.isfinite(v)] or [0.0])
    middle = float(np.median(numbers))
    spread = 1.4826 * float(np.median(np.abs(numbers - middle)))
    bound = max(least, middle + SPREAD * spread)
    return [name for name, value in values.items() if value > bound]


def first_of(order: Sequence[str], names: Iterable[str]) -> str | None:
    """The earliest of ``names`` in ``order``."""
    wanted = set(names)
    return next((name for name in order if name in wanted), None)
