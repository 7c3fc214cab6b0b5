"""Recurrent state in calibration data: the state of each sample is the network's last output.

A streaming network reads its state as an input (h) and gives the next one as an output (hn). Data of consecutive
samples need not hold the states: each pass runs the float network from sample to sample, starting from zeros or from
what the data give for the first one. Said once, at import (``hexaquant.load(..., states={"h": "hn"})``,
``--state h=hn``), and kept in the model's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hexaquant.io.dataset import Dataset
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs

States = list[dict[str, Any]]


def rolled(data: Dataset, graph: Graph) -> Dataset:
    """``data`` with the states that ``graph`` computes from sample to sample; unchanged for a graph without any."""
    specs = input_specs(graph)
    states = {spec.name: spec.state_of for spec in specs if spec.state_of is not None}
    if not states:
        return data
    known: States = []

    def items() -> Iterator[Any]:
        network = build_module(graph, share=True).eval()
        for index, (batch, labels) in enumerate(data.labelled(1)):
            sample = dict(batch) | (known[index] if index < len(known) else {})
            if index >= len(known):
                known.append({name: sample[name] for name in states})
            if index + 1 >= len(known):
                known.append(_next(network, graph, specs, sample))
            yield sample if labels is None else (sample, labels)

    return replace(data, items=items)


@torch.no_grad()
def _next(network: nn.Module, graph: Graph, specs: tuple[InputSpec, ...], sample: Mapping[str, Any]) -> dict[str, Any]:
    """The states after ``sample``."""
    result = network(*[torch.as_tensor(sample[spec.name]) for spec in specs])
    outputs = [result] if isinstance(result, torch.Tensor) else list(result)
    named = {value.name: tensor for value, tensor in zip(graph.outputs, outputs, strict=True)}
    return {spec.name: named[spec.state_of].numpy().copy() for spec in specs if spec.state_of is not None}
