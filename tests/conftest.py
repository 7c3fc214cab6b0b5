"""After every pass over a graph, in every test: its invariants hold (hexaquant/ir/invariants.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from hexaquant.htp import for_target
from hexaquant.ir import normalize
from hexaquant.ir.graph import Graph
from hexaquant.ir.invariants import require_invariants

Pass = Callable[[Graph], int]


def checked(step: Pass) -> Pass:
    @functools.wraps(step)
    def run(graph: Graph) -> int:
        changed = step(graph)
        if changed:
            require_invariants(graph, step.__name__)
        return changed

    return run


@pytest.fixture(autouse=True)
def passes_keep_the_invariants(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((normalize, ("CLEANUP", "FUSE")), (for_target, ("FORMS", "BIASES"))):
        for name in names:
            monkeypatch.setattr(module, name, tuple(checked(step) for step in getattr(module, name)))
