"""Rule: a name, what it finds, and the function that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from hexaquant.analysis.lint.finding import Finding
from hexaquant.analysis.lint.subject import Subject

Needs = Literal["graph", "data", "encodings"]


@dataclass(frozen=True)
class Rule:
    """``title``: what it finds, for lists of rules. ``needs``: what must be given for it to look at all.

    ``measured``: the cost of its findings is the quantizer's alone, and a small one makes them an info.
    """

    name: str
    title: str
    check: Callable[[Subject], Iterator[Finding]]
    needs: Needs = "graph"
    measured: bool = False
