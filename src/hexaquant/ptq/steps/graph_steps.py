"""Steps that rewrite the graph before it is planned; each keeps the function of the FP32 network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import first_samples, input_specs
from hexaquant.ptq.graph_change import changed_layers, channel_maxima, require_same_function, watch
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.absorb_biases import absorb_biases, absorbable
from hexaquant.transforms.equalize_layers import equalize_layers
from hexaquant.transforms.fold_norm_scale import fold_norm_scale
from hexaquant.transforms.rotate_bottlenecks import STEPS, rotate_bottlenecks
from hexaquant.transforms.rotate_heads import RotatedHeads, rotate_heads
from hexaquant.transforms.rotate_transformer import rotate_transformer
from hexaquant.transforms.smooth_activations import ALPHAS, read_tensors, smooth_activations

# Step: cross-layer equalization (transforms/equalize_layers.py).

TOLERANCE = 1e-4
"""Of the outputs' size; float32 networks of 100 layers stay below 1e-5."""


@dataclass(frozen=True)
class EqualizeLayers:
    """``residuals``: solve sums of layers jointly (False: leave them alone). ``cross_relu6``: treat ReLU6 as ReLU in
    channels that never come near 6 on the calibration data; the function is then the same on such data only.
    """

    residuals: bool = True
    cross_relu6: bool = False

    title: ClassVar[str] = "equalize layers"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        maxima = {}
        if self.cross_relu6:
            clips = [n.inputs[0].name or "" for n in graph.nodes if n.op_type == "Clip" and n.inputs[0] is not None]
            maxima = channel_maxima(graph, events.track(batches(), self.title), clips) if clips else {}
        result = equalize_layers(graph, clip_maxima=maxima, residuals=self.residuals)
        changed = require_same_function(before, graph, batches, TOLERANCE, self.title)
        details = {
            "channels": result.scaling.size - 1,
            "rounds": result.rounds,
            "deviation": changed,
            "layers": changed_layers(before, graph),
            "left_alone": [{"layer": layer, "reason": why} for layer, why in result.scaling.reasons.items()],
        }
        return StepReport(self.title, 0, details)


# Step: SmoothQuant migration (transforms/smooth_activations.py).


@dataclass(frozen=True)
class SmoothActivations:
    """``alphas``: how much of the spread moves into the weights, tried for each group of layers beside leaving it
    alone; ``samples``: on which the output error is measured; ``weight_bits``: of the weights in that measurement.
    """

    alphas: tuple[float, ...] = ALPHAS
    samples: int = 4
    weight_bits: int = 8

    title: ClassVar[str] = "smooth activations"

    def __post_init__(self) -> None:
        if self.samples < 1 or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise InputError("smooth_activations takes at least one sample and alphas from 0 to 1")

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        names = read_tensors(graph)
        values: dict[str, Tensor] = {}

        def see(name: str) -> Callable[[Tensor], None]:
            return lambda x: values.update({name: torch.cat([values[name], x]) if name in values else x})

        watch(graph, first_samples(batches(), input_specs(graph), self.samples), {name: see(name) for name in names})
        groups = smooth_activations(graph, values, alphas=self.alphas, weight_bits=self.weight_bits)
        rows = [{"layer": ", ".join(g.layers)} | asdict(g) for g in groups if g.alpha is not None]
        deviation = require_same_function(before, graph, batches, TOLERANCE, self.title)
        details = {"groups": len(groups), "deviation": deviation, "layers": rows}
        return StepReport(self.title, self.samples, details)


# Step: high-bias absorption (transforms/absorb_biases.py).


@dataclass(frozen=True)
class AbsorbBiases:
    """No settings. The function stays the same on calibration data; see the transform for where it need not."""

    title: ClassVar[str] = "absorb biases"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        names = list(absorbable(graph))
        if not names:
            return StepReport(self.title, 0, {"layers": []})
        before = graph.clone()
        minima = channel_maxima(graph, events.track(batches(), self.title), names, negated=True)
        layers = absorb_biases(graph, {name: -largest for name, largest in minima.items()})
        deviation = require_same_function(before, graph, batches, TOLERANCE, self.title)
        return StepReport(self.title, 0, {"deviation": deviation, "layers": [asdict(layer) for layer in layers]})


# Step: gamma and beta of normalizations into the linear layers behind them (transforms/fold_norm_scale.py).


@dataclass(frozen=True)
class FoldNormScale:
    """No settings: all normalizations that qualify are folded."""

    title: ClassVar[str] = "fold norm scale"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = fold_norm_scale(graph)
        details = {
            "norms": [{"layer": name, "gamma_ratio_before": ratio} for name, ratio in result.layers.items()],
            "declined": [{"layer": name, "reason": why} for name, why in result.declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        return StepReport(self.title, 0, details)


# Step: offline Hadamard rotation of residual streams and attention heads (transforms/rotate_transformer.py).


@dataclass(frozen=True)
class RotateTransformer:
    """``extra_linears``: also where a normalization's output is added to the stream again (post-norm: BERT), at the
    price of one linear layer for each normalization; worth it with 8-bit activations only. ``heads``: the values of
    attention heads too. ``seed``: of the signs.
    """

    extra_linears: bool = False
    heads: bool = True
    seed: int = 0

    title: ClassVar[str] = "rotate transformer"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = rotate_transformer(graph, extra_linears=self.extra_linears, seed=self.seed)
        heads = rotate_heads(graph, self.seed) if self.heads else RotatedHeads()
        declined = result.declined | heads.declined
        details = {
            "streams": result.spaces,
            "heads": heads.layers,
            "folded": result.folded,
            "extra_linears": result.extra,
            "declined": [{"where": name, "reason": why} for name, why in declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        if declined and not result.spaces and not heads.layers:
            events.note(self.title, f"nothing is rotated: {next(iter(declined.values()))}")
        return StepReport(self.title, 0, details)


# Step: learned rotation of linear bottlenecks (transforms/rotate_bottlenecks.py).


@dataclass(frozen=True)
class RotateBottlenecks:
    """``steps`` of learning a space; 0 leaves the rotations random. ``seed``: of where they start."""

    steps: int = STEPS
    seed: int = 0

    title: ClassVar[str] = "rotate bottlenecks"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"rotate_bottlenecks: 'steps' is at least 0, not {self.steps}")

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = rotate_bottlenecks(graph, steps=self.steps, seed=self.seed)
        details = {
            "spaces": [{"channels": size, "layers": names} for size, names in zip(result.sizes, result.layers)],
            "declined": [] if result.sizes else [{"where": n, "reason": why} for n, why in result.declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        return StepReport(self.title, 0, details)
