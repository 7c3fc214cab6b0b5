"""A plan made from given encodings alone: for QDQ models and encodings files that some other tool wrote.

Every tensor that has an encoding is quantized exactly there and so; all others stay float. Nothing is fused,
shared or derived, so that the simulation equals the imported model operator by operator.
"""

from __future__ import annotations

from collections.abc import Mapping

from hexaquant.core.encoding import Encoding
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph, is_float_value
from hexaquant.sim.plan import QuantPlan, TensorPlan


def plan_from_encodings(graph: Graph, encodings: Mapping[str, Encoding], target: Target, scheme: Scheme) -> QuantPlan:
    """A plan in which exactly the tensors of ``encodings`` are quantized."""
    tensors: dict[str, TensorPlan] = {}
    for value in graph.values():
        name = value.name or ""
        encoding = encodings.get(name)
        layer = str(graph.origin(value.producer())) if value.producer() is not None else ""  # type: ignore[arg-type]
        constant = value.is_initializer()
        role = "constant" if constant else "activation"
        if encoding is not None and not encoding.grid.is_float:
            how = "own" if constant else "observed"
            tensors[name] = TensorPlan(name, role, how, encoding.grid, layer=layer)  # type: ignore[arg-type]
        elif is_float_value(value):
            reason = "it has no encoding"
            tensors[name] = TensorPlan(name, role, "float", layer=layer, reason=reason)  # type: ignore[arg-type]
    return QuantPlan(target, scheme, tensors)
