"""How many samples fit into one run of a network, by its largest tensor.

A second of audio or a large picture makes tensors of millions of elements, in which every channel has many thousand
positions: what is estimated from them (ranges, mean errors) needs fewer samples, and holding as many as of small ones
would take gigabytes.
"""

from __future__ import annotations

from math import prod

from hexaquant.ir.graph import Graph, constant, shape_of

IN_A_RUN = 2**24
"""Elements that the largest tensor of a run may have (64 MB): more at once are not faster."""
HELD = 2**26
"""Elements of one tensor of all samples that are held at once (256 MB, and as much for the quantized network)."""
LEAST_HELD = 2
"""Of whatever size; one sample may be silence."""


def largest_tensor(graph: Graph) -> int:
    """Elements of the largest computed tensor of one sample; dimensions that are free count as 1."""
    shapes = [shape_of(value) for value in graph.values() if constant(value) is None]
    sizes = [prod(d for d in shape if isinstance(d, int)) for shape in shapes if shape is not None]
    return max([1, *sizes])


def samples_in_a_run(graph: Graph, most: int) -> int:
    """``most``, or as many as a run has room for."""
    return max(1, min(most, IN_A_RUN // largest_tensor(graph)))


def samples_to_hold(graph: Graph, most: int) -> int:
    """``most``, or as many as may be held at once."""
    return min(most, max(LEAST_HELD, HELD // largest_tensor(graph)))
