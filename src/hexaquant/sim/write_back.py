"""Trained parameters back into the user's nn.Module.

The import folded BatchNormalizations into the layers before them, W' = s W and b' = s b + t with s = gamma /
sqrt(var + eps). Here W = W' / s, with the module's own gamma and statistics, and the norm's beta takes what is left of
the bias: in evaluation mode the module then computes the trained float network, exactly up to float32 rounding.
A channel whose gamma is 0 gets the gamma for which s = 1. Transpositions that the import did are undone, recurrent
layers rolled up again (sim/write_back_recurrent.py), layers that shared a parameter get their own where theirs parted
(sim/write_back_shared.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as oir
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_batchnorm import folded_norms
from hexaquant.ir.passes.fold_constants import DERIVED_FROM
from hexaquant.sim.write_back_recurrent import recurrent_parameters
from hexaquant.sim.write_back_shared import part_shared

DEAD = 1e-12
"""Norms that scale a channel by less than this get a new gamma: dividing by it would lose the weight."""


@dataclass
class WrittenBack:
    """``written``: the module's parameters that hold trained values now; ``added``: biases that the module did not
    have as its own; ``left``: trained tensor -> why it could not be written.
    """

    written: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def write_back(graph: Graph, parameters: Mapping[str, Tensor], module: nn.Module) -> WrittenBack:
    """Write ``parameters`` (ONNX name -> values) of ``graph`` into ``module``, from which the graph was imported."""
    return _Writer(graph, parameters, module).run()


class _Writer:
    """The state of one call."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Tensor], module: nn.Module) -> None:
        self.graph = graph
        self.module = module
        self.values = {name: p.detach().cpu() for name, p in parameters.items()}
        self.targets = dict(module.named_parameters(remove_duplicate=False))
        self.report = WrittenBack()
        self.done: set[str] = set()

    def run(self) -> WrittenBack:
        for node in self.graph.nodes:
            weight = node.inputs[1] if len(node.inputs) > 1 else None
            if weight is not None and weight.name in self.values and folded_norms(weight):
                self._unfold(node, weight)
        for name in self.values:
            if name.endswith(".weight.folded"):
                self._standalone_norm(name.removesuffix(".weight.folded"))
        self._recurrent()
        self._shared()
        for name in self.values:
            if name not in self.done:
                self._write(name, self._as_imported(name, self.values[name]))
        return self.report

    def _recurrent(self) -> None:
        found = recurrent_parameters(self.graph, self.values, self.targets)
        for name, value in found.values.items():
            self._write(name, value)
        self.done |= found.read
        self.report.left |= found.left

    def _shared(self) -> None:
        open_ = {name: value for name, value in self.values.items() if name not in self.done}
        found = part_shared(self.graph, open_, self.module, self._as_imported)
        self.targets = dict(self.module.named_parameters(remove_duplicate=False))
        for name, value in found.values.items():
            self._write(name, value)
        self.done |= found.read
        self.report.added += found.parted
        self.report.left |= found.left

    def _unfold(self, node: oir.Node, weight: oir.Value) -> None:
        norms = [_submodule(self.module, name.rpartition(".")[0]) for name in folded_norms(weight)]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        names = [v.name or "" for v in (weight, bias) if v is not None]
        self.done.update(names)
        norms_found = [n for n in norms if isinstance(n, _BatchNorm) and n.running_mean is not None]
        if len(norms_found) < len(norms) or bias is None:
            reason = f"the module has no BatchNorm '{folded_norms(weight)[0].rpartition('.')[0]}' with statistics"
            self.report.left |= dict.fromkeys(names, reason)
            return
        self._revive(norms_found)
        scales = [norm_scale(norm) for norm in norms_found]
        scale = torch.stack(scales).prod(0)
        unfolded = self.values[names[0]].double() / along_outputs(node, scale, self.values[names[0]])
        self._write(names[0], self._as_imported(names[0], unfolded.float()))
        self._write_bias(names[0], names[1], norms_found, scales)

    def _revive(self, norms: list[_BatchNorm]) -> None:
        """Give channels that the norms switch off a gamma for which they pass unchanged."""
        dead = torch.stack([norm_scale(norm) for norm in norms]).prod(0).abs() < DEAD
        for norm in norms:
            if norm.weight is not None and bool(dead.any()):
                deviation = (norm.running_var.double() + norm.eps).sqrt()  # type: ignore[union-attr]
                norm.weight.copy_(torch.where(dead, deviation, norm.weight.double()))

    def _write_bias(self, weight: str, name: str, norms: list[_BatchNorm], scales: list[Tensor]) -> None:
        own = self.targets.get(weight.removesuffix("weight") + "bias") if weight.endswith("weight") else None
        wanted = self.values[name].double()
        last = norms[-1]
        passed = torch.zeros_like(wanted) if own is None else own.detach().cpu().double()
        passed = _through(passed, norms, scales)
        if last.bias is not None:
            last.bias.copy_(last.bias.detach().cpu().double() + wanted - passed)
            self.report.written.append(_name_of(self.targets, last.bias))
            return
        needed = (wanted - _through(torch.zeros_like(wanted), norms, scales)) / torch.stack(scales).prod(0)
        self._write(weight.removesuffix("weight") + "bias", needed.float())

    def _standalone_norm(self, path: str) -> None:
        """A BatchNorm that became Mul and Add: gamma = factor sqrt(var + eps), beta = summand + mean factor."""
        names = [f"{path}.weight.folded", f"{path}.bias.folded"]
        norm = _submodule(self.module, path)
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.weight is None:
            return
        factor, summand = (self.values[name].double().reshape(-1) for name in names)
        mean, var = norm.running_mean.cpu().double(), norm.running_var.cpu().double()  # type: ignore[union-attr]
        self._write(f"{path}.weight", (factor * (var + norm.eps).sqrt()).float())
        self._write(f"{path}.bias", (summand + mean * factor).float())
        self.done.update(names)

    def _as_imported(self, name: str, value: Tensor) -> Tensor:
        """``value`` without the transpositions that the import did."""
        found = self.graph.model.graph.initializers.get(name)
        history = "" if found is None else found.metadata_props.get(DERIVED_FROM, "")
        for text in reversed(re.findall(r"Transpose\(([\d, ]+)\)", history)):
            order = [int(axis) for axis in text.split(",") if axis.strip()]
            if len(order) == value.dim():
                value = value.permute([order.index(axis) for axis in range(len(order))])
        return value

    def _write(self, name: str, value: Tensor) -> None:
        self.done.add(name)
        target = self.targets.get(name)
        if target is None:
            self._add(name, value)
        elif target.numel() != value.numel():
            self.report.left[name] = f"it has shape {tuple(value.shape)}, the module's {tuple(target.shape)}"
        else:
            target.copy_(value.reshape(target.shape))
            self.report.written.append(name)

    def _add(self, name: str, value: Tensor) -> None:
        """A tensor that the module lacks: a bias where its layer has room for one, else nothing new to write."""
        path, _, leaf = name.rpartition(".")
        layer = _submodule(self.module, path)
        if not bool(value.any()) or self._is_unchanged(name):
            return
        if layer is None or leaf != "bias" or layer._parameters.get("bias", value) is not None:
            self.report.left[name] = "the module has no parameter of that name"
            return
        weight = layer._parameters.get("weight")
        like = value if weight is None else weight
        layer.register_parameter("bias", nn.Parameter(value.to(like.device, like.dtype)))
        self.report.added.append(name)

    def _is_unchanged(self, name: str) -> bool:
        data = constant(self.graph.model.graph.initializers.get(name))
        value = self.values.get(name)
        return data is not None and value is not None and torch.equal(torch.from_numpy(data.copy()), value)


def norm_scale(norm: _BatchNorm) -> Tensor:
    """s = gamma / sqrt(var + eps), float64 (C,)."""
    var = norm.running_var.cpu().double()  # type: ignore[union-attr]
    gamma = torch.ones_like(var) if norm.weight is None else norm.weight.detach().cpu().double()
    return gamma / (var + norm.eps).sqrt()


def _through(value: Tensor, norms: list[_BatchNorm], scales: list[Tensor]) -> Tensor:
    """What the norms in evaluation mode make of ``value``, float64 (C,)."""
    for norm, scale in zip(norms, scales):
        beta = 0 if norm.bias is None else norm.bias.detach().cpu().double()
        value = (value - norm.running_mean.cpu().double()) * scale + beta  # type: ignore[union-attr]
    return value


def along_outputs(node: oir.Node, scale: Tensor, weight: Tensor) -> Tensor:
    """``scale`` (one per output channel) in a shape that broadcasts against ``weight`` of ``node``."""
    if node.op_type == "Gemm":
        return scale[:, None] if int_attribute(node, "transB", 0) else scale[None, :]
    if node.op_type == "ConvTranspose":
        groups = int_attribute(node, "group", 1)
        rows = scale.reshape(groups, weight.shape[1]).repeat_interleave(weight.shape[0] // groups, 0)
        return rows.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
    return scale.reshape(-1, *[1] * (weight.dim() - 1))


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _name_of(targets: Mapping[str, Tensor], parameter: Tensor) -> str:
    return next((name for name, target in targets.items() if target is parameter), "")
