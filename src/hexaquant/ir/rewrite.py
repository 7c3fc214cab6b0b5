"""Exact rewrites of what no kernel takes into what kernels take, before anything judges the graph for a target.

The reference stays as the user wrote it; these run on the copy that is planned and quantized. Every pass preserves the
function, does nothing the second time, and adds no quantization noise where only data move.
"""

from __future__ import annotations

from collections.abc import Callable

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import clean_up
from hexaquant.ir.passes.drop_empty import drop_empty
from hexaquant.ir.passes.einsum_to_matmul import einsum_to_matmul
from hexaquant.ir.passes.fixed_products import fixed_products
from hexaquant.ir.passes.flat_pooling import flat_pooling
from hexaquant.ir.passes.lower_ranks import lower_ranks
from hexaquant.ir.passes.never_infinite import never_infinite
from hexaquant.ir.passes.plain_layers import plain_layers
from hexaquant.ir.passes.plain_pads import plain_pads
from hexaquant.ir.passes.resizes_as_products import resizes_as_products
from hexaquant.ir.passes.wrap_indices import wrap_indices

REWRITES: tuple[Callable[[Graph], int], ...] = (
    drop_empty,
    never_infinite,
    einsum_to_matmul,
    fixed_products,
    plain_layers,
    plain_pads,
    resizes_as_products,
    flat_pooling,
    wrap_indices,
    lower_ranks,
)

MAX_ROUNDS = 8


def rewrite_forms(graph: Graph) -> int:
    """Apply all rewrites to ``graph`` in place until nothing changes; returns how often one changed something."""
    total = 0
    for _ in range(MAX_ROUNDS):
        changed = sum(step(graph) for step in REWRITES)
        if not changed:
            break
        clean_up(graph)
        total += changed
    return total
