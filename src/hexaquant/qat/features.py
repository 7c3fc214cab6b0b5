"""Inner tensors of the simulation drawn towards those of the FP32 network.

Romero et al., "FitNets: Hints for Thin Deep Nets", 2015 (arXiv:1412.6550), equation 3, here without a regressor:
quantized and FP32 tensors have the same shape. The distance is the noise-to-signal ratio, averaged over the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph
from hexaquant.qat.distill import relative_mse
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer


def feature_names(model: QuantizedModel, reference: Graph, globs: Sequence[str]) -> list[str]:
    """Activations of ``model`` that match ``globs`` and are tensors of ``reference`` too.

    Raises InputError when there is none.
    """
    known = {value.name for node in reference.nodes for value in node.outputs}
    names = [n for n, q in model.quantizers.items() if isinstance(q, ActivationQuantizer) and n in known]
    found = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    if not found:
        raise InputError(
            f"no inner tensor of the model and its FP32 network matches {', '.join(globs)}; print model.plan for names"
        )
    return found


SAME = 0.1
"""Noise-to-signal ratio from which an inner tensor of the float simulation is another one than FP32's."""


@torch.no_grad()
def comparable(model: QuantizedModel, student: Watched, teacher: Watched) -> tuple[list[str], list[str]]:
    """(names that can be compared, names that cannot) after the teacher and ``model`` in float mode saw one batch.

    Cross-layer equalization scales channels of inner tensors: those are others in the simulation than in FP32.
    """
    alike = {n: float(relative_mse((student.values[n],), (t,))) < SAME for n, t in teacher.values.items()}
    return [n for n, same in alike.items() if same], [n for n, same in alike.items() if not same]


class Watched:
    """Remembers what modules returned last. Use as a context; ``values`` are by name, with gradients."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self._modules = modules
        self._handles: dict[str, RemovableHandle] = {}
        self.values: dict[str, Tensor] = {}

    def __enter__(self) -> Watched:
        for name, module in self._modules.items():
            self._handles[name] = module.register_forward_hook(partial(self._keep, name))
        return self

    def only(self, names: Sequence[str]) -> None:
        """Forget all but ``names``."""
        for name in self._modules.keys() - set(names):
            self._handles.pop(name).remove()
        self._modules = {name: self._modules[name] for name in names}
        self.values.clear()

    def __exit__(self, *error: object) -> None:
        for handle in self._handles.values():
            handle.remove()
        self.values.clear()

    def _keep(self, name: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
        self.values[name] = output


def feature_distance(student: Watched, teacher: Watched) -> Tensor:
    """Mean noise-to-signal ratio of the watched tensors, a scalar."""
    pairs = [(student.values[name], value) for name, value in teacher.values.items()]
    return torch.stack([relative_mse((s.float(),), (t.float(),)) for s, t in pairs]).mean()
