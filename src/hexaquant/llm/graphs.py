"""The decoder's graphs: one for each number of new tokens (prompt chunks, single tokens), from one set of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.ir.graph import Graph
from hexaquant.llm.static_decoder import Layer, Positions, Shapes, StaticDecoder

IDS, MASK, COS, SIN, INDEX, LOGITS = (
    "input_ids", "attention_mask", "position_ids_cos", "position_ids_sin", "position_ids", "logits",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What all graphs of a decoder share: its layers, how positions come in, the width of rotary inputs, the value of
    a token that is not seen."""

    layers: tuple[Layer, ...]
    positions: Positions
    rotary_width: int
    mask: float
    vocabulary: int

    def where(self) -> tuple[str, ...]:
        """Names of the inputs that say where a token stands."""
        return (COS, SIN) if self.positions == "rotary" else (INDEX,)

    def input_names(self) -> list[str]:
        return [IDS, MASK, *self.where(), *(f"{name}_in" for name in self.cache_names())]

    def output_names(self) -> list[str]:
        return [LOGITS, *(f"{name}_out" for name in self.cache_names())]

    def cache_names(self) -> Iterator[str]:
        """past_key_0, past_value_0, past_key_1, ..."""
        for index in range(len(self.layers)):
            yield f"past_key_{index}"
            yield f"past_value_{index}"

    def cache_shapes(self, columns: int) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of the cache, by name, with ``columns`` tokens."""
        found: dict[str, tuple[int, ...]] = {}
        for index, layer in enumerate(self.layers):
            found[f"past_key_{index}"] = (layer.heads, 1, layer.key_width, columns)
            found[f"past_value_{index}"] = (layer.heads, 1, columns, layer.value_width)
        return found


def graph_name(shapes: Shapes) -> str:
    """ "token_ar1_cl128_1_of_1", "prompt_ar32_cl128_1_of_1": the names that AI Hub's folders have."""
    kind = "token" if shapes.tokens == 1 else "prompt"
    return f"{kind}_ar{shapes.tokens}_cl{shapes.context}_1_of_1"


def trace(model: Any, form: Form, shapes: Shapes) -> Graph:
    """The graph of ``model`` for ``shapes``, with static shapes and Genie's names. Raises InputError."""
    decoder = StaticDecoder(model, shapes, form.positions, form.mask)
    inputs = tuple(example_inputs(form, shapes).values())
    graph = load(decoder, inputs, dynamic_batch=False, input_names=form.input_names(), output_names=form.output_names())
    graph.source = graph_name(shapes)
    return graph


def example_inputs(form: Form, shapes: Shapes) -> dict[str, Tensor]:
    """Zeros (of the mask: everything is seen) in the shapes of the graph's inputs, by name."""
    tokens = shapes.tokens
    found: dict[str, Tensor] = {IDS: torch.zeros(1, tokens, dtype=torch.long)}
    found[MASK] = torch.zeros(1, 1, tokens, shapes.context)
    for name in form.where():
        rotary = torch.zeros(1, 1, tokens, form.rotary_width // 2)
        found[name] = rotary if form.positions == "rotary" else torch.zeros(1, tokens, dtype=torch.long)
    for name, shape in form.cache_shapes(shapes.past).items():
        found[f"{name}_in"] = torch.zeros(shape)
    return found


def causal_mask(shapes: Shapes, seen: int, count: int, value: float) -> np.ndarray:
    """(1, 1, AR, CL) float32: rows of ``count`` new tokens after ``seen`` ones; the new tokens are the last columns."""
    if seen + count > shapes.context:
        raise InputError(f"{seen + count} tokens do not fit a context of {shapes.context}")
    mask = np.full((1, 1, shapes.tokens, shapes.context), value, np.float32)
    mask[..., :count, :seen] = 0
    columns = np.arange(shapes.tokens)
    mask[0, 0, :, shapes.past :][(columns[:, None] >= columns) & (columns[:, None] < count)] = 0
    return mask
