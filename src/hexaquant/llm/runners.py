"""The decoder as FP32, as the simulation and on the target: each a function from a sequence of tokens to logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hexaquant.llm.feeds import Cache, feed
from hexaquant.llm.graphs import LOGITS
from hexaquant.llm.loop import Loop
from hexaquant.llm.record import Record
from hexaquant.llm.simulation import read_simulation, runner

Logits = npt.NDArray[np.float32]
LogitsOf = Callable[[Sequence[int]], Logits]
"""Tokens that begin a text -> (tokens, vocabulary)."""


def float_logits(model: Any) -> LogitsOf:
    """transformers' own, in FP32."""

    def run(tokens: Sequence[int]) -> Logits:
        with torch.no_grad():
            found: Logits = model(torch.tensor([list(tokens)])).logits[0].float().numpy()
        return found

    return run


class SimulatedLoop:
    """The simulation with a cache, as Loop is the target: the prompt graph alone, for it has the same numbers."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.record = record
        self.shapes = record.shapes[0]
        self._run = runner(read_simulation(folder, self.shapes), record.form)
        self.reset()

    def reset(self) -> None:
        """Forget the tokens so far."""
        self.cache = Cache(self.record.form, self.record.context)

    def feed(self, tokens: Sequence[int]) -> Logits:
        """Logits of ``tokens``, which join the cache."""
        found = []
        for start in range(0, len(tokens), self.shapes.tokens):
            part = tokens[start : start + self.shapes.tokens]
            inputs = feed(self.record.form, self.record.rope, self.shapes, part, self.cache, self.record.pad)
            outputs = self._run(inputs)
            self.cache.append(outputs, len(part))
            found.append(outputs[LOGITS][0, : len(part)])
        return np.concatenate(found)


def target_loop(folder: Path, record: Record) -> Loop:
    """Our own loop over the twin."""
    return Loop(folder / record.twin, record.form, record.rope, record.shapes, record.pad)


def logits_of(loop: Loop | SimulatedLoop) -> LogitsOf:
    """From an empty cache each time."""

    def run(tokens: Sequence[int]) -> Logits:
        loop.reset()
        return loop.feed(tokens)

    return run


def greedy(loop: Loop | SimulatedLoop, prompt: Sequence[int], count: int, stop: Sequence[int]) -> list[int]:
    """At most ``count`` tokens after ``prompt``."""
    loop.reset()
    found: list[int] = []
    logits = loop.feed(prompt)[-1]
    while True:
        token = int(logits.argmax())
        if token in stop:
            return found
        found.append(token)
        if len(found) == count:
            return found
        logits = loop.feed([token])[-1]


def float_greedy(model: Any, prompt: Sequence[int], count: int, stop: Sequence[int]) -> tuple[list[int], list[Logits]]:
    """FP32's tokens after ``prompt``, and the logits that each was chosen from (one more where a stop ended them)."""
    found: list[int] = []
    seen: list[Logits] = []
    past = None
    ids = torch.tensor([list(prompt)])
    with torch.no_grad():
        while len(found) < count:
            output = model(ids, past_key_values=past, use_cache=True)
            logits = output.logits[0, -1].float().numpy()
            seen.append(logits)
            token = int(logits.argmax())
            if token in stop:
                break
            found.append(token)
            past = output.past_key_values
            ids = torch.tensor([[token]])
    return found, seen
