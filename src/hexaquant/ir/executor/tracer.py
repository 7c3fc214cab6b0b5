"""The tracer that fx uses when it unpickles an executed graph: operator functions stay opaque."""

from __future__ import annotations

from torch import fx

from hexaquant.ir.executor.ops import host
from hexaquant.ir.executor.ops.shape import identity
from hexaquant.ir.executor.table import OPS


class OperatorTracer(fx.Tracer):
    """Records each operator function as one call instead of looking into it."""

    def __init__(self) -> None:
        own = (identity, host.constant, host.to_device_of)
        super().__init__(autowrap_functions=(*own, *(spec.fn for spec in OPS.values())))
