"""Trained parameters back into the user's Keras model: the counterpart of sim/write_back.py.

Layouts are undone: a convolution's (O, I, *size) becomes Keras' (*size, I, O), a depthwise one's (C M, 1, *size)
becomes (*size, C, M), a transposed one's (I, O, *size) becomes (*size, O, I). A folded BatchNormalization is taken out
of the weight with the model's own gamma and statistics, W = W' / s with s = gamma / sqrt(var + eps), and its beta takes
what is left of the bias; a channel with gamma 0 gets the gamma for which s = 1. In inference the Keras model then
computes the trained float network up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.frontends.keras_signature import variable_names
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_batchnorm import folded_norms
from hexaquant.sim.write_back import DEAD, WrittenBack, along_outputs
from hexaquant.sim.write_back_recurrent import reordered

Vector = npt.NDArray[np.float64]
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
"""For each of Keras' gates the place of ONNX's."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def write_back_keras(graph: Graph, parameters: Mapping[str, Tensor], model: Any) -> WrittenBack:
    """Write ``parameters`` (ONNX name -> values) of ``graph`` into ``model``, from which the graph was imported."""
    return _Writer(graph, parameters, model).run()


class _Norm:
    """A BatchNormalization of the model by the name of its variables ("block/bn/")."""

    def __init__(self, path: str, variables: Mapping[str, Any], epsilon: float) -> None:
        self.path = path
        self.variables = variables
        self.mean, self.var = self.read("moving_mean"), self.read("moving_variance")
        self.deviation = np.sqrt(self.var + epsilon)

    def read(self, leaf: str, default: float = 0.0) -> Vector:
        variable = self.variables.get(self.path + leaf)
        if variable is None:
            return np.full_like(self.mean, default)
        return np.asarray(variable, np.float64)

    @property
    def scale(self) -> Vector:
        return self.read("gamma", 1.0) / self.deviation

    def through(self, value: Vector) -> Vector:
        """What the norm makes of ``value`` in inference."""
        return (value - self.mean) * self.scale + self.read("beta")


class _Writer:
    """The state of one call."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Tensor], model: Any) -> None:
        self.graph = graph
        self.values = {name: p.detach().cpu().double() for name, p in parameters.items()}
        self.variables = dict(variable_names(model))
        self.epsilons = _epsilons(model, self.variables)
        self.report = WrittenBack()
        self.done: set[str] = set()

    def run(self) -> WrittenBack:
        for node in self.graph.nodes:
            weight = node.inputs[1] if node.op_type in WEIGHTED and len(node.inputs) > 1 else None
            if weight is not None and weight.name in self.values and weight.name not in self.done:
                self._layer(node, weight)
        for node in self.graph.nodes:
            if node.op_type in GATES:
                self._recurrent(node)
        for name in list(self.values):
            if name.endswith("/gamma.folded"):
                self._standalone_norm(name.removesuffix("gamma.folded"))
        for name in self.values:
            if name not in self.done:
                self._plain(name)
        return self.report

    def _layer(self, node: oir.Node, weight: oir.Value) -> None:
        name = weight.name or ""
        self.done.add(name)
        norms = [self._norm(mean) for mean in folded_norms(weight)]
        found = [norm for norm in norms if norm is not None]
        if len(found) < len(norms):
            self.report.left[name] = f"the model has no BatchNormalization '{folded_norms(weight)[0]}'"
            return
        self._revive(found)
        value = self.values[name]
        if found:
            value = value / along_outputs(node, torch.from_numpy(_product(found)), value)
        variable = self.variables.get(name)
        if variable is None:
            self.report.left[name] = "the model has no variable of that name"
        else:
            self._assign(name, _keras_layout(node, value.numpy(), tuple(variable.shape)))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and bias.name in self.values:
            self._bias(self._own_bias(name), bias.name or "", found)

    def _recurrent(self, node: oir.Node) -> None:
        """W (1, gates * units, inputs), R and B (1, 2 * gates * units) of an operator: Keras' kernels and bias."""
        for value in node.inputs[1:4]:
            name = value.name or "" if value is not None else ""
            variable = self.variables.get(name)
            if name not in self.values or variable is None:
                continue
            self.done.add(name)
            rows = self.values[name][0]
            parts = [reordered(part, GATES[node.op_type]) for part in (rows.chunk(2) if rows.dim() == 1 else [rows])]
            both = torch.stack(parts) if len(variable.shape) == 2 else torch.stack(parts).sum(0)
            self._assign(name, (both if rows.dim() == 1 else parts[0].T).numpy())

    def _own_bias(self, weight: str) -> str:
        """The bias beside ``weight``; that of a separable convolution belongs to its pointwise half."""
        path, _, leaf = weight.rpartition("/")
        shared = leaf == "depthwise_kernel" and f"{path}/pointwise_kernel" in self.variables
        return "" if shared else f"{path}/bias"

    def _bias(self, own: str, name: str, norms: list[_Norm]) -> None:
        self.done.add(name)
        wanted = self.values[name].numpy()
        beta = norms[-1].path + "beta" if norms else ""
        if beta in self.variables:
            passed = np.asarray(self.variables[own], np.float64) if own in self.variables else np.zeros_like(wanted)
            for norm in norms:
                passed = norm.through(passed)
            self._assign(beta, norms[-1].read("beta") + wanted - passed)
            return
        for norm in reversed(norms):
            wanted = (wanted - norm.read("beta")) / norm.scale + norm.mean
        if own in self.variables:
            self._assign(own, wanted)
        elif bool(np.abs(wanted).max() > 0):
            self.report.left[name] = "the layer has no bias in the Keras model"

    def _norm(self, mean: str) -> _Norm | None:
        path = mean.removesuffix("moving_mean")
        known = f"{path}moving_mean" in self.variables and path in self.epsilons
        return _Norm(path, self.variables, self.epsilons[path]) if known else None

    def _revive(self, norms: list[_Norm]) -> None:
        """Give channels that the norms switch off a gamma for which they pass unchanged."""
        dead = np.abs(_product(norms)) < DEAD if norms else np.zeros(1, bool)
        for norm in norms:
            if bool(dead.any()) and norm.path + "gamma" in self.variables:
                self._assign(norm.path + "gamma", np.where(dead, norm.deviation, norm.read("gamma")))

    def _standalone_norm(self, path: str) -> None:
        """A norm that became Mul and Add: gamma = factor sqrt(var + eps), beta = summand + mean factor."""
        norm = self._norm(f"{path}moving_mean")
        names = [f"{path}gamma.folded", f"{path}beta.folded"]
        if norm is None or any(name not in self.values for name in names) or f"{path}gamma" not in self.variables:
            return
        factor, summand = (self.values[name].numpy().reshape(-1) for name in names)
        self._assign(f"{path}gamma", factor * norm.deviation)
        self._assign(f"{path}beta", summand + norm.mean * factor)
        self.done.update(names)

    def _plain(self, name: str) -> None:
        """A parameter that no layer's weight is: a vector, or a tensor that the import left in its shape."""
        self.done.add(name)
        variable = self.variables.get(name)
        value = self.values[name].numpy()
        if variable is None:
            if not self._is_unchanged(name):
                self.report.left[name] = "the model has no variable of that name"
        elif value.shape == tuple(variable.shape) or (
            value.size == np.prod(variable.shape) and sum(size > 1 for size in value.shape) <= 1
        ):
            self._assign(name, value)
        else:
            self.report.left[name] = f"it has shape {value.shape}, the variable {tuple(variable.shape)}"

    def _is_unchanged(self, name: str) -> bool:
        data = constant(self.graph.model.graph.initializers.get(name))
        return data is not None and np.array_equal(data, self.values[name].numpy())

    def _assign(self, name: str, value: npt.NDArray[Any]) -> None:
        variable = self.variables.get(name)
        if variable is None:
            return
        if value.size != int(np.prod(variable.shape)):
            self.report.left[name] = f"it has shape {value.shape}, the variable {tuple(variable.shape)}"
            return
        variable.assign(value.reshape(tuple(variable.shape)).astype(np.float32))
        self.report.written.append(name)


def _keras_layout(node: oir.Node, weight: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """``weight`` of ``node`` with the axes of the Keras variable of ``shape``."""
    if node.op_type in ("Gemm", "MatMul"):
        return weight.T if int_attribute(node, "transB", 0) else weight
    groups = int_attribute(node, "group", 1)
    spatial = list(range(2, weight.ndim))
    if node.op_type == "Conv" and groups > 1 and len(shape) > 1 and shape[-2] == groups and weight.shape[1] == 1:
        split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[2:])
        return split.transpose(*spatial, 0, 1)
    return weight.transpose(*spatial, 1, 0)


def _product(norms: list[_Norm]) -> Vector:
    return np.asarray(np.prod([norm.scale for norm in norms], axis=0))


def _epsilons(model: Any, variables: Mapping[str, Any]) -> dict[str, float]:
    """Path of a BatchNormalization's variables -> its epsilon."""
    owners = {id(layer.moving_mean): layer for layer in model._flatten_layers() if hasattr(layer, "moving_mean")}
    found = {name: owners.get(id(variable)) for name, variable in variables.items() if name.endswith("moving_mean")}
    return {n.removesuffix("moving_mean"): float(layer.epsilon) for n, layer in found.items() if layer is not None}
