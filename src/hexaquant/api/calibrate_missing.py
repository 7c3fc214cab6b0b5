"""Encodings by calibration for the tensors of a network that came without: the given ones stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hexaquant.api.convert import Network
from hexaquant.core.events import Events
from hexaquant.htp import kernels
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.steps.model_steps import Calibrate
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.given_encodings import exact_glob, settings_of
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.planner import make_plan

OWN_RANGE = ("observed", "own")
"""Kinds of plan whose encoding calibration finds; the rest follows from these, or is fixed."""


@dataclass(frozen=True)
class Calibrated:
    """``network`` with an encoding for every tensor; ``names``: those that calibration gave."""

    network: Network
    names: tuple[str, ...]
    samples: int


def calibrate_missing(
    network: Network,
    batches: Iterable[Mapping[str, Any]],
    *,
    target: Target,
    scheme: Scheme,
    ranges: Calibrate,
    per_channel: bool = True,
    events: Events | None = None,
) -> Calibrated:
    """Observe ``batches`` (input name -> array) on the float network and encode what ``network.given`` leaves out.

    ``scheme``, ``ranges`` (biases are not corrected: weights stay the user's) and ``per_channel`` count for
    those tensors only. Raises TargetError, InputError as hq.quantize does.
    """
    graph = network.graph.clone()
    settings = settings_of(graph, network.given) | _weight_settings(graph, per_channel)
    model = QuantizedModel(graph, make_plan(graph, target, scheme, parse_overrides(settings)))
    samples = calibrate(model, batches, observer=ranges.observer, weight_observer=ranges.weight_observer, events=events)
    own = {plan.name for plan in model.plan if plan.how in OWN_RANGE} - set(network.given)
    found = {name: encoding for name, encoding in model.encodings().items() if name in own}
    return Calibrated(replace(network, given=network.given | found), tuple(found), samples)


def _weight_settings(graph: Graph, per_channel: bool) -> dict[str, Any]:
    """One scale per weight or a channel, for the weights of ``graph`` by exact name."""
    kind = "channel" if per_channel else "tensor"
    names = []
    for node in graph.nodes:
        weight = node.inputs[1] if node.op_type in kernels.WEIGHT_INPUTS and len(node.inputs) > 1 else None
        if weight is not None and weight.name and weight.is_initializer():
            names.append(weight.name)
    return {exact_glob(name): {"granularity": kind} for name in names}
