"""The executor: a Graph as a torch.fx.GraphModule."""

from hexaquant.ir.executor.build import build_module

__all__ = ["build_module"]
