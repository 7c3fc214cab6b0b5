"""QuantizedModel: the torch module built from a Graph and a QuantPlan. Calibration, PTQ, QAT and export act on it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from hexaquant.core import html
from hexaquant.core.encoding import Encoding, encoding_from_range, float_encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.frontends import is_keras_model
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.sim.keras_write_back import write_back_keras
from hexaquant.sim.plan import QuantPlan, TensorPlan
from hexaquant.sim.quantizer import ActivationQuantizer, BiasQuantizer, ConstantQuantizer, Quantizer
from hexaquant.sim.write_back import WrittenBack, write_back

_PREFIX = "network."
TRAINING_NORMS = "batch_norms_in_training"
"""Submodule of ``network`` that holds BatchNorms while they are put back for training (qat/batchnorm.py)."""


class QuantizedModel(nn.Module):
    """Simulates the target. Inputs and outputs are those of the graph, float32, in the graph's order.

    ``state_dict`` has the original parameter names beside the quantizers' buffers. After construction the
    quantizers are off: the model is the float network until :func:`hexaquant.sim.calibrate` has run.
    """

    def __init__(self, graph: Graph, plan: QuantPlan) -> None:
        super().__init__()
        self.source_graph = graph
        self.plan = plan
        self.quantizers = _make_quantizers(plan)
        taps: dict[str, nn.Module] = dict(self.quantizers)
        self.network = build_module(graph, taps, plan.bypass)
        self._arguments = {name: argument for argument, name in self.network.meta["input_names"].items()}
        self._paths = {name: path for path, name in self.network.meta["parameter_names"].items()}
        self.register_state_dict_post_hook(_strip_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)
        self.eval()

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Outputs for inputs in the graph's order, or by their ONNX names."""
        if not kwargs:
            return self.network(*args)
        arguments = self._arguments
        return self.network(*args, **{arguments.get(name, name): value for name, value in kwargs.items()})

    def weight_parameters(self) -> list[nn.Parameter]:
        """The network's own parameters (weights and biases), for an optimizer group."""
        return [p for name, p in self.named_parameters() if not name.startswith("network.taps")]

    def encoding_parameters(self) -> list[nn.Parameter]:
        """Scales and offsets that are being learned (qat/learn.py), for an optimizer group without weight decay."""
        return [p for name, p in self.named_parameters() if name.startswith("network.taps")]

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """ONNX name -> parameter."""
        parameters = dict(self.network.named_parameters())
        return {name: parameters[path] for name, path in self._paths.items() if path in parameters}

    def set_state(self, state: str) -> None:
        """Put all quantizers into ``state`` ("off" or "on")."""
        for quantizer in self.quantizers.values():
            quantizer.state = state

    @contextmanager
    def float_mode(self) -> Iterator[QuantizedModel]:
        """Within the block the model is the float network."""
        with self.only():
            yield self

    @contextmanager
    def only(self, *globs: str) -> Iterator[QuantizedModel]:
        """Within the block only tensors matching one of ``globs`` are quantized (those that were on before)."""
        before = {name: q.state for name, q in self.quantizers.items()}
        try:
            self.set_state("off")
            for name, quantizer in self.quantizers.items():
                if any(fnmatchcase(name, g) for g in globs):
                    quantizer.state = before[name]
            yield self
        finally:
            for name, quantizer in self.quantizers.items():
                quantizer.state = before[name]

    def encodings(self) -> dict[str, Encoding]:
        """The encoding of every tensor that has one: activations (shared ones too), weights, constants, int32
        biases, and float16 tensors."""
        result: dict[str, Encoding] = {}
        for plan in self.plan:
            if plan.how == "float" and plan.grid is not None:
                result[plan.name] = float_encoding(plan.grid.bits)
            if not plan.is_quantized:
                continue
            owner = self.plan.root(plan.name)
            result[plan.name] = self.quantizers[owner.name].encoding
        return result

    def set_encodings(self, encodings: Mapping[str, Encoding], strict: bool = True) -> list[str]:
        """Take ``encodings`` over (derived and shared ones follow by themselves) and turn those quantizers on.

        Returns the names that stay without an encoding. With ``strict`` a grid that differs from the plan's
        raises EncodingError; otherwise the plan follows the encoding. Signed or unsigned storage does not matter.
        """
        followed: dict[str, TensorPlan] = {}
        for name, quantizer in self.quantizers.items():
            encoding = encodings.get(name)
            if encoding is None or isinstance(quantizer, BiasQuantizer):
                continue
            grid = replace(encoding.grid, signed=quantizer.grid.signed)
            if grid != quantizer.grid:
                if strict:
                    raise EncodingError(
                        f"tensor '{name}': the encoding is {encoding.grid} but the plan says {quantizer.grid}; "
                        "quantize with the scheme and overrides that the encodings were made with"
                    )
                quantizer.plan = followed[name] = replace(quantizer.plan, grid=encoding.grid)
            quantizer.encoding = replace(encoding, grid=quantizer.grid)
            quantizer.state = "on"
        for quantizer in self.quantizers.values():
            if isinstance(quantizer, BiasQuantizer):
                quantizer.state = "on"
        if followed:
            self.plan = replace(self.plan, tensors={**self.plan.tensors, **followed})
        return [n for n, q in self.quantizers.items() if isinstance(q, Quantizer) and not q.has_encoding]

    def _repr_html_(self) -> str:
        """For notebooks: how many quantizers are on, and the encodings."""
        on = sum(quantizer.state == "on" for quantizer in self.quantizers.values())
        head = html.heading(f"{type(self).__name__} of {self.source_graph.source}: {self.plan.summary()}")
        told = html.paragraph(f"{on} of {len(self.quantizers)} quantizers are on")
        rows = [
            (name, quantizer.plan.grid, quantizer.state, *_range(quantizer), quantizer.plan.layer)
            for name, quantizer in self.quantizers.items()
        ]
        return head + told + html.table(["tensor", "grid", "state", "lowest", "highest", "layer"], rows)

    def bypassed(self) -> list[str]:
        """Names of activation nodes that their output's encoding replaces exactly (dropped on export)."""
        keep = []
        for node in self.source_graph.nodes:
            if node.name in self.plan.bypass:
                quantizer = self.quantizers.get(node.outputs[0].name or "")
                if isinstance(quantizer, ActivationQuantizer) and quantizer.clips_exactly:
                    keep.append(node.name or "")
        return keep

    def exported_graph(self) -> Graph:
        """A float Graph with the current parameters, the one that is written to ONNX."""
        import onnx_ir as oir

        self._refuse_training_norms()
        graph = self.source_graph.clone()
        for name, parameter in self.parameters_by_name().items():
            value = graph.model.graph.initializers.get(name)
            if value is not None:
                array = parameter.detach().cpu().float().numpy()
                value.const_value = oir.tensor(array.astype(value.dtype.numpy()) if value.dtype else array, name=name)
        return graph

    def write_back(self, original: Any) -> WrittenBack:
        """Put the current (trained) weights into ``original``, the nn.Module or keras.Model it was imported from.

        BatchNorms folded at import are unfolded again (sim/write_back.py). The report says what was written, which
        biases ``original`` did not have and got, and what could not be written and why.
        """
        self._refuse_training_norms()
        write = write_back_keras if is_keras_model(original) else write_back
        return write(self.source_graph, self.parameters_by_name(), original)

    def _refuse_training_norms(self) -> None:
        if TRAINING_NORMS in self.network._modules:
            raise InputError("BatchNorms were put back for training: fold them first with freeze_encodings(model)")

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantizedModel:
        self._refuse_training_norms()
        twin = type(self)(self.source_graph, self.plan)
        twin.__dict__.update({key: value for key, value in self.__dict__.items() if key not in twin.__dict__})
        for name, quantizer in self.quantizers.items():
            if isinstance(quantizer, Quantizer):
                twin.quantizers[name].learned = copy.deepcopy(quantizer.learned)
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        for name, quantizer in self.quantizers.items():
            twin.quantizers[name].state = quantizer.state
        twin.train(self.training)
        memo[id(self)] = twin
        return twin


AnyQuantizer = ActivationQuantizer | ConstantQuantizer | BiasQuantizer


def _make_quantizers(plan: QuantPlan) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for tensor in plan:
        if tensor.tie is not None and tensor.tie in made:
            made[tensor.name] = made[tensor.tie]
        elif tensor.how in ("observed", "fixed"):
            made[tensor.name] = ActivationQuantizer(tensor)
        elif tensor.how == "own":
            made[tensor.name] = ConstantQuantizer(tensor)
        if tensor.how == "fixed" and tensor.grid is not None:
            low = torch.tensor(tensor.low)
            high = torch.tensor(tensor.high)
            made[tensor.name].encoding = encoding_from_range(low, high, tensor.grid)
    for tensor in plan:
        if tensor.how == "derived" and tensor.source is not None and tensor.weight is not None:
            made[tensor.name] = BiasQuantizer(tensor, made[plan.root(tensor.source).name], made[tensor.weight])
    return made


def _range(quantizer: AnyQuantizer) -> tuple[str, str]:
    """Lowest and highest value of its encoding, where it has one with integers."""
    if not isinstance(quantizer, Quantizer) or not quantizer.has_encoding or quantizer.encoding.grid.is_float:
        return "", ""
    return f"{float(quantizer.encoding.min.min()):.5g}", f"{float(quantizer.encoding.max.max()):.5g}"


def _strip_prefix(module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for key in list(state):
        if key.startswith(prefix + _PREFIX):
            state[prefix + key[len(prefix + _PREFIX) :]] = state.pop(key)


def _add_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    for key in list(state):
        if key.startswith(prefix) and not key.startswith(prefix + _PREFIX):
            state[prefix + _PREFIX + key[len(prefix) :]] = state.pop(key)
