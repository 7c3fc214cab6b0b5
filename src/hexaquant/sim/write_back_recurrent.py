"""Trained parameters of recurrent layers as those of the nn.LSTM, nn.GRU or nn.RNN they came from.

A layer that stayed whole has PyTorch's parameters in ONNX's order: W, R, and B with b_ih and b_hh, by direction.
The unrolled layer has W, R and, for its input projection, one bias b: PyTorch's b_ih + b_hh (of a GRU's candidate
gate only b_ih). Each step's recurrent product has a bias besides: 0, and of a GRU's candidate gate b_hh. PyTorch's
b_hh has room for one of them, so the mean over the steps is written. ONNX orders the gates i, o, f, c and z, r, h;
PyTorch i, f, c, o and r, z, n.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.htp import kernels
from hexaquant.htp.recurrent.layer import operand
from hexaquant.htp.recurrent.rule import recurrent_nodes
from hexaquant.htp.recurrent.steps import UNROLLED
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.fold_constants import DERIVED_FROM

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""For each of PyTorch's gates the place of ONNX's."""
SAME = 1e-6
"""Biases of the steps that differ by less are one bias."""


@dataclass
class Recurrent:
    """``values``: PyTorch's name -> values; ``read``: the unrolled tensors that they hold; ``left``: those that found
    no place, or only in part, and why.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)


@dataclass
class _Run:
    """One direction of one layer: names of its unrolled tensors."""

    told: dict[str, Any]
    weight_ih: str = ""
    bias_ih: str = ""
    weight_hh: str = ""
    step_biases: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [name for name in (self.weight_ih, self.bias_ih, self.weight_hh, *self.step_biases) if name]


def step_biases(graph: Graph) -> set[str]:
    """Names of the biases that an unrolled layer has once a step, and the layer it came from once or not at all."""
    return {name for run in _runs(graph) for name in run.step_biases}


def recurrent_parameters(graph: Graph, values: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Recurrent:
    """The parameters of the recurrent layers of ``graph``, whole or unrolled.

    ``values``: trained, by names of ``graph``; ``known``: the module's own parameters, as they are.
    """
    found = _whole_layers(graph, values, known)
    for run in _runs(graph):
        found.read.update(run.names)
        direction = int(run.told["direction"])
        w, r = (_sources(run.told[letter], known)[direction:][:1] for letter in "WR")
        if not w or not r or not run.weight_ih or run.told["part"] != "weight_hh":
            reason = f"it is a part of an unrolled {run.told['op']}, whose parameters the module does not have"
            found.left |= dict.fromkeys(run.names, reason)
            continue
        order = ORDER[run.told["op"]]
        found.values[w[0]] = reordered(values[run.weight_ih], order)
        found.values[r[0]] = reordered(values[run.weight_hh], order)
        _biases(run, values, known, _sources(run.told["B"], known)[2 * direction :][:2], found)
    return found


def _whole_layers(graph: Graph, values: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Recurrent:
    """Those of the operators that stayed one."""
    found = Recurrent()
    for node in recurrent_nodes(graph):
        order = ORDER[node.op_type]
        for index in kernels.RECURRENT_WEIGHTS:
            value = operand(node, index)
            name = "" if value is None else value.name or ""
            if value is None or name not in values:
                continue
            found.read.add(name)
            halves = 2 if index == 3 else 1  # B is b_ih and b_hh
            parts = [part for one in values[name] for part in one.chunk(halves)]
            names = _sources(value.metadata_props.get(DERIVED_FROM) or name, known)
            if len(names) < len(parts):
                if names or any(bool(part.any()) for part in parts):
                    found.left[name] = f"the module does not have the parameters of this {node.op_type}"
                continue
            found.values |= {name: reordered(part, order) for name, part in zip(names, parts)}
    return found


def _biases(
    run: _Run, values: Mapping[str, Tensor], known: Mapping[str, Tensor], names: list[str], found: Recurrent
) -> None:
    """b_ih and b_hh of one direction."""
    steps = torch.stack([values[name] for name in run.step_biases])
    order = ORDER[run.told["op"]]
    mean = steps.mean(0)
    spread = float((steps - mean).abs().max())
    if spread > SAME:
        reason = f"the steps have biases that differ by up to {spread:.2g}; the module has one, which is their mean now"
        found.left |= dict.fromkeys(run.step_biases, reason)
    summed = reordered(values[run.bias_ih], order)
    recurrent = reordered(mean, order)
    if len(names) < 2:
        if bool(summed.any()) or bool(recurrent.any()):
            found.left |= dict.fromkeys([run.bias_ih, *run.step_biases], "the module's recurrent layer has no biases")
        return
    own = known[names[1]].detach().cpu()
    shared = torch.ones_like(own)
    if run.told["op"] == "GRU":
        shared[2 * len(own) // 3 :] = 0
    found.values[names[0]] = summed - shared * own
    found.values[names[1]] = shared * own + recurrent


def reordered(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Rows of ``x`` (gates * hidden, ...) with the gates in ``order``."""
    gates = x.chunk(len(order))
    return torch.cat([gates[place] for place in order])


def _sources(history: str, known: Collection[str]) -> list[str]:
    """The module's parameters that ``history`` names, in order."""
    return list(dict.fromkeys(word for word in re.split(r"[ ,]+", history) if word in known))


def _runs(graph: Graph) -> list[_Run]:
    """The unrolled directions in ``graph``."""
    runs: dict[tuple[Any, ...], _Run] = {}
    for node in graph.nodes:
        weight = node.inputs[1] if node.op_type == "Gemm" else None
        if weight is None or UNROLLED not in weight.metadata_props:
            continue
        told = json.loads(weight.metadata_props[UNROLLED])
        run = runs.setdefault((told["W"], told["R"], told["direction"]), _Run(told))
        bias = (node.inputs[2].name or "") if len(node.inputs) > 2 and node.inputs[2] is not None else ""
        _add(run, told, weight, bias)
    return list(runs.values())


def _add(run: _Run, told: dict[str, Any], weight: oir.Value, bias: str) -> None:
    if told["part"] == "weight_ih":
        run.weight_ih = weight.name or ""
        run.bias_ih = bias
        return
    run.told = told
    run.weight_hh = weight.name or ""
    run.step_biases += [bias] if bias else []
