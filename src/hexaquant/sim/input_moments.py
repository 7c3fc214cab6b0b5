"""How much each input of a layer moves its outputs: second moments, collected while ranges are observed.

The outputs' error of a weight w that is rounded to q is, with inputs that are taken as uncorrelated,
sum_k E[x_k^2] (w_k - q_k)^2 for each row (the diagonal part of the quadratic form in ptq/rounding/moments.py). So
E[x_k^2] says how much an error of w_k counts when a clip is chosen: a weight that large inputs meet must be right, one
that hardly anything reaches need not be. The criterion is that of Nagel et al., "A White Paper on Neural Network
Quantization" (arXiv:2106.08295), section 3.1, applied to weights, without the pass for each candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.ranks import total
from hexaquant.sim.layers import Layer, find_layers
from hexaquant.sim.model import QuantizedModel

POSITIONS = 256
"""Outputs of each sample that are looked at: an average of squares needs no more."""
FLOOR = 1e-3
"""Part of the mean importance that every input has, for the samples do not show all that it can be."""


class InputMoments(fx.Interpreter):
    """Runs the network of ``model`` and sums up the squares of what the layers with ``weights`` read."""

    def __init__(self, model: QuantizedModel, weights: Iterable[str]) -> None:
        super().__init__(model.network)
        wanted = set(weights)
        self.layers = {layer.y: layer for layer in find_layers(model, shared=True) if layer.weight in wanted}
        self.names = [value.name or "" for value in model.source_graph.inputs]
        self.sums: dict[fx.Node, Tensor] = {}
        self.counts: dict[fx.Node, int] = {}

    def watch(self, inputs: Mapping[str, Tensor]) -> None:
        """Run one batch, by names of the graph's inputs."""
        self.run(*[inputs[name] for name in self.names])

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        layer = self.layers.get(n)
        if layer is not None and result.dim() > 1:
            self._add(n, layer, self.env[layer.x], result)
        return result

    def _add(self, node: fx.Node, layer: Layer, x: Tensor, y: Tensor) -> None:
        positions = torch.arange(layer.positions(y), device=x.device)
        if len(positions) > POSITIONS:
            seen = torch.Generator().manual_seed(self.counts.get(node, 0))
            positions = torch.randperm(len(positions), generator=seen)[:POSITIONS].to(x.device)
        columns = layer.columns(x, y, positions)
        self.sums[node] = self.sums.get(node, 0) + columns.double().square().sum(2)
        self.counts[node] = self.counts.get(node, 0) + columns.shape[2]

    def importance(self) -> dict[str, Tensor]:
        """Weight name -> how much the error of each of its elements counts, in the weight's shape; of all ranks' data.

        A weight of several layers counts what all of them read.
        """
        found: dict[str, Tensor] = {}
        for node, layer in self.layers.items():
            if node not in self.sums:
                continue
            count = max(float(total(torch.tensor(float(self.counts[node])))), 1.0)
            mean = (total(self.sums[node]) / count).float()
            mean = mean + FLOOR * mean.mean() + torch.finfo(torch.float32).tiny
            rows = layer.outputs_in_group
            every = layer.tensor(mean[:, None, :].expand(-1, rows, -1))
            found[layer.weight] = found[layer.weight] + every if layer.weight in found else every
        return found
