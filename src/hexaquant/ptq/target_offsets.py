"""How far the target's layers lie beside the simulation's, on average: the measured half of target-in-the-loop
correction.

    d_c = E[y^target_c - y~_c]        y~ = the simulated layer, run on the *target's own* inputs

Each tensor that the target shows replaces the simulated one before the next layer runs, so that d is what this
layer's kernel alone adds, not what came in with its inputs. The means are over samples and positions, c is the channel.
With d added to the simulation, bias correction (ptq/bias_correction.py) moves the target's outputs, not the
simulation's, back onto the float network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import QuantPlan

LEAST_ACTIVE = 0.2
"""A mean behind an activation function is moved through it by the part of values that it lets pass, at least this."""

Arrays = Mapping[str, np.ndarray]


@torch.no_grad()
def target_offsets(model: QuantizedModel, runs: Iterable[tuple[Arrays, Arrays]]) -> dict[str, Tensor]:
    """Tensor name -> (C,) mean deviation of the target from the simulation.

    ``runs``: (inputs by name, tensors that the target showed for them by name), all of the same batch.
    """
    walk = _Forced(model)
    count = 0
    for inputs, shown in runs:
        walk.shown = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in shown.items()}
        values = [torch.from_numpy(np.ascontiguousarray(inputs[v.name or ""])) for v in model.source_graph.inputs]
        walk.run(*values)
        count += 1
    return {name: total / count for name, total in walk.totals.items()}


class _Forced(fx.Interpreter):
    """Runs the simulation; what ``shown`` holds takes the place of the value just computed."""

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__(model.network)
        self.shown: dict[str, Tensor] = {}
        self.totals: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        name = n.meta.get("value", "") if n.op == "call_module" else ""
        seen = self.shown.get(name)
        if seen is None:
            return value
        seen = seen.reshape(value.shape)
        deviation = channel_means(seen - value)
        self.totals[name] = self.totals[name] + deviation if name in self.totals else deviation
        return seen


def channel_axis(dims: int) -> int:
    """The axis that holds the channels of a tensor of ``dims`` axes: the last of (N, tokens, C), else the second."""
    return dims - 1 if dims in (1, 3) else 1


def channel_means(x: Tensor) -> Tensor:
    """(C,) means of ``x`` over everything but its channels."""
    axis = channel_axis(x.dim())
    return x.movedim(axis, 0).reshape(x.shape[axis], -1).mean(1)


def along_channels(means: Tensor, like: Tensor) -> Tensor:
    """``means`` (C,) with the axes of ``like``."""
    view = [1] * like.dim()
    view[channel_axis(like.dim())] = -1
    return means.reshape(view)


def before_activation(
    plan: QuantPlan, offsets: Mapping[str, Tensor], name: str, computed: Tensor, axis: int
) -> Tensor | None:
    """The offset of the layer whose output is ``name``, moved through the activation that is fused into it.

    ``computed``: the layer's output before that activation. None when the target showed nothing of this layer.
    """
    follower = plan[plan[name].source or ""] if plan[name].how == "fused" else None
    offset = offsets.get(name if follower is None else follower.name)
    if offset is None or follower is None or follower.clamp is None:
        return offset
    low, high = follower.clamp
    passed = torch.ones_like(computed, dtype=torch.bool)
    passed &= True if low is None else computed > low
    passed &= True if high is None else computed < high
    share = passed.movedim(axis, 0).reshape(computed.shape[axis], -1).float().mean(1)
    return offset / share.clamp(min=LEAST_ACTIVE)
