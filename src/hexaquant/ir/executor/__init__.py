"""The executor: a Graph as a torch.fx.GraphModule."""

from hexaquant.ir.executor.build import build_module
from hexaquant.ir.executor.values import value_nodes

__all__ = ["build_module", "value_nodes"]
