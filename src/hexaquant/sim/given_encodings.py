"""A complete plan for encodings that some other tool chose: the target's rules, filled with what was given.

Unlike sim/imported.py (the foreign model, operator by operator) this is what the target will run. Each given encoding
is *taken* over or has a row that says why not; nothing is invented without a row. Rules:

1. operator + Relu/Clip in one: the encoding before the activation is dropped, the one after it is in force;
2. data movement keeps the encoding of its input; int32 biases follow from input and weight;
3. an encoding that leaves the range of its fused activation is clamped to that range;
4. constants without an encoding take that of their own range;
5. other tensors without one are *missing*, or run in float16 (``float_fallback``) with their readers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import onnx_ir as oir
import torch

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.errors import EncodingError, TargetError
from hexaquant.core.grid import Lpbq, PerBlock, PerTensor
from hexaquant.htp import kernels
from hexaquant.htp.scheme import SCHEMES, Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.edit import sole_consumer
from hexaquant.ir.graph import CONVERT, Graph
from hexaquant.sim.activation_grids import ActivationPlanner
from hexaquant.sim.converts import only_moves
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.node_schemes import node_schemes
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.planner import make_plan
from hexaquant.sim.quantizer import ActivationQuantizer, ConstantQuantizer

Outcome = Literal["taken", "fused", "shared", "derived", "clamped", "adjusted", "parameter", "float", "own range"]
SHOWN = 12
"""Names in the sentence of :class:`MissingEncodings`."""

BIAS_TOLERANCE = 1e-6
"""Relative difference of float32 products below which a given bias scale is the derived one."""


class MissingEncodings(EncodingError):
    """Activations without an encoding. ``names``: all of them; the sentence shows the first few."""

    def __init__(self, source: str, names: list[str]) -> None:
        self.names = tuple(names)
        shown = ", ".join(f"'{name}'" for name in names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
        count = "1 tensor has" if len(names) == 1 else f"{len(names)} tensors have"
        super().__init__(
            f"{source}: {count} no encoding: {shown}; calibrate with `hexaquant quantize`, or run them in float16 "
            "with --float_fallback"
        )


@dataclass(frozen=True)
class Decision:
    """What became of one tensor's encoding, and why."""

    tensor: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Completed:
    """The quantized model, its quantizers on, and a decision for every given encoding and every invented one."""

    model: QuantizedModel
    decisions: tuple[Decision, ...]

    def departures(self) -> list[Decision]:
        """Everything but encodings that were simply taken over."""
        return [d for d in self.decisions if d.outcome != "taken"]


def complete_encodings(
    graph: Graph, given: Mapping[str, Encoding], target: Target, *, float_fallback: bool = False
) -> Completed:
    """The model of ``graph`` (which gets convert nodes where types meet) with ``given`` encodings by tensor name.

    Raises MissingEncodings listing the activations without an encoding and the remedies, TargetError for what the
    target refuses.
    """
    _require_executable(graph, given)
    _require_no_blocks(graph, given)
    scheme = _scheme(graph, given)
    settings = settings_of(graph, given)
    while True:
        draft = graph.clone()
        model = QuantizedModel(draft, make_plan(draft, target, scheme, parse_overrides(settings)))
        filler = _Filler(model, given)
        filler.fill()
        if not filler.missing:
            return Completed(model, tuple(filler.decisions()))
        if not float_fallback:
            raise MissingEncodings(graph.source, filler.missing)
        floats = [exact_glob(name) for name in filler.fallback()]
        fresh = {glob: "float16" for glob in floats if settings.get(glob) != "float16"}
        if not fresh:
            raise MissingEncodings(graph.source, filler.missing)
        settings |= fresh


def _require_executable(graph: Graph, given: Mapping[str, Encoding]) -> None:
    for value in graph.values():
        encoding = given.get(value.name or "")
        if encoding is None or encoding.grid.is_float or value.is_initializer():
            continue
        if encoding.grid.bits not in (8, 16) or not isinstance(encoding.grid.granularity, PerTensor):
            raise TargetError(
                f"activation '{value.name}' has the encoding {encoding.grid}: the target takes activations of 8 or 16 "
                "bits with one scale; export the encodings with one of these"
            )


def _require_no_blocks(graph: Graph, given: Mapping[str, Encoding]) -> None:
    """Block encodings arrive in MatMul only (measured with release 2.7.0 of onnxruntime-qnn)."""
    for node in graph.nodes:
        weight = node.inputs[1] if node.op_type in kernels.WEIGHT_INPUTS and len(node.inputs) > 1 else None
        encoding = given.get(weight.name or "") if weight is not None else None
        if node.op_type == "MatMul" or encoding is None or encoding.grid.is_float:
            continue
        if isinstance(encoding.grid.granularity, PerBlock | Lpbq):
            raise TargetError(
                f"weight '{weight.name if weight else ''}' of {graph.origin(node)} ({node.op_type}) has one scale per "
                "block, which Qualcomm's lowering takes for MatMul only; export it with one scale per channel"
            )


def _scheme(graph: Graph, given: Mapping[str, Encoding]) -> Scheme:
    """The most frequent widths; float16 when no activation has integers but some are said to be float, or none is."""
    acts: Counter[int] = Counter()
    weights: Counter[int] = Counter()
    for value in graph.values():
        encoding = given.get(value.name or "")
        if encoding is None or encoding.grid.bits == 32:
            continue
        count = weights if value.is_initializer() else acts
        count[0 if encoding.grid.is_float else encoding.grid.bits] += 1
    if not (acts + weights) or (acts and set(acts) == {0}):
        return SCHEMES["fp16"]
    acts.pop(0, None)
    a = acts.most_common(1)[0][0] if acts else 8
    w = next((bits for bits, _ in weights.most_common() if bits), 8)
    return SCHEMES.get(f"w{w}a{a}", Scheme(f"w{w}a{a}", w, a))


def given_schemes(graph: Graph, given: Mapping[str, Encoding]) -> Mapping[str, str]:
    """Node name -> name of the scheme that ``given`` encodings mean for it; float16 where there are none."""
    overrides = parse_overrides(settings_of(graph, given))
    return node_schemes(ActivationPlanner(graph, _scheme(graph, given), overrides))


def settings_of(graph: Graph, given: Mapping[str, Encoding]) -> dict[str, Any]:
    """Overrides of the planner that make it plan the given types. Moved data has none: it keeps those of its source."""
    settings: dict[str, Any] = {}
    for value in graph.values():
        encoding = given.get(value.name or "")
        if encoding is None and not value.is_initializer():
            encoding = _of_reader(value, given)
        if encoding is None or value.is_initializer() or only_moves(value.producer()):
            continue
        entry = {"bits": encoding.grid.bits, "symmetric": encoding.grid.symmetric}
        settings[exact_glob(value.name or "")] = "float16" if encoding.grid.is_float else entry
    return settings


def _of_reader(value: oir.Value, given: Mapping[str, Encoding]) -> Encoding | None:
    """The given encoding of the Relu or Clip, or of the moved data, that alone comes of ``value``."""
    reader = sole_consumer(value)
    if reader is None or not (reader.op_type in kernels.CLIPPING_ACTIVATIONS or only_moves(reader)):
        return None
    return given.get(reader.outputs[0].name or "") if reader.inputs[0] is value else None


def exact_glob(name: str) -> str:
    """A glob that matches exactly ``name``."""
    return re.sub(r"([*?[])", r"[\1]", name)


class _Filler:
    """Gives every quantizer of ``model`` its encoding and remembers what it did."""

    def __init__(self, model: QuantizedModel, given: Mapping[str, Encoding]) -> None:
        self.model = model
        self.given = given
        self.values = {v.name or "": v for v in model.source_graph.values()}
        self.done: dict[str, Decision] = {}
        self.missing: list[str] = []

    def fill(self) -> None:
        parameters = self.model.parameters_by_name()
        for name, quantizer in self.model.quantizers.items():
            given = self.given.get(name)
            if given is not None and given.grid.is_float:
                given = None
            if isinstance(quantizer, ConstantQuantizer):
                self._constant(name, quantizer, given, parameters)
            elif isinstance(quantizer, ActivationQuantizer):
                self._activation(name, quantizer, given)
        if not self.missing:
            self.model.set_state("on")

    def _constant(self, name: str, quantizer: ConstantQuantizer, given: Encoding | None, parameters: Any) -> None:
        if given is not None:
            self._take(name, given)
            return
        tensor = parameters.get(name)
        if tensor is None:
            self.missing.append(name)
            return
        quantizer.fit(tensor)
        self._note(name, "own range", f"it had no encoding; {quantizer.grid} over its own values")

    def _activation(self, name: str, quantizer: ActivationQuantizer, given: Encoding | None) -> None:
        grid = quantizer.grid
        plan = quantizer.plan
        if plan.how == "fixed" and (given is None or grid.bits > 8):
            if given is not None and not _same(given, quantizer.encoding):
                step = float(quantizer.encoding.step)
                self._note(name, "adjusted", f"step {float(given.step):.9g} -> {step:.9g}, which the kernel requires")
            return
        source = given if given is not None else self._inherited(name)
        if source is None:
            self.missing.append(name)
            return
        clamped = _clamped(source, plan.clamp)
        if clamped is not source:
            self._note(name, "clamped", f"range {_span(source)} -> {_span(clamped)}, that of its activation")
        if clamped.grid.bits != grid.bits or (grid.symmetric and float(clamped.offset) != grid.symmetric_offset):
            clamped = encoding_from_range(clamped.min, clamped.max, grid)
            self._note(name, "adjusted", f"{source.grid} -> {grid}{' symmetric' * grid.symmetric}: the kernel's type")
        elif given is None:
            self._note(name, "adjusted", "it had no encoding; that of its neighbour holds the same values")
        self._take(name, clamped)

    def _inherited(self, name: str) -> Encoding | None:
        """Of a convert: its source's encoding. Of a Relu or Clip and the operator before it, and of what
        is only moved: that of the other one."""
        value = self.values[name]
        node = value.producer()
        if node is not None and CONVERT in node.metadata_props and node.inputs[0] is not None:
            found = self.given.get(self._root(node.inputs[0].name or ""))
        else:
            before = self.given.get(self.model.plan[name].source or "")
            found = _of_reader(value, self.given) or before
        return None if found is None or found.grid.is_float else found

    def _root(self, name: str) -> str:
        """``name``, or where it has no encoding of its own the tensor that it moves."""
        node = self.values[name].producer()
        while name not in self.given and node is not None and only_moves(node) and node.inputs[0] is not None:
            name = node.inputs[0].name or ""
            node = node.inputs[0].producer()
        return name

    def _take(self, name: str, encoding: Encoding) -> None:
        self.model.set_encodings({name: encoding}, strict=False)
        self.done.setdefault(name, Decision(name, "taken"))

    def _note(self, name: str, outcome: Outcome, detail: str) -> None:
        self.done.setdefault(name, Decision(name, outcome, detail))

    def fallback(self) -> list[str]:
        """What has to run in float16 so that nothing is missing: a convert's readers, else the tensor itself."""
        names: list[str] = []
        for name in self.missing:
            node = self.values[name].producer()
            if node is not None and CONVERT in node.metadata_props:
                names += [o.name or "" for use in self.values[name].uses() for o in use.node.outputs]
            else:
                names.append(name)
        return names

    def decisions(self) -> list[Decision]:
        """One for each given encoding, in the order given, then those of tensors that had none."""
        rows = [self.done.get(name) or self._untaken(name, encoding) for name, encoding in self.given.items()]
        whole = self.model.plan.scheme.is_float
        floats = [
            Decision(p.name, "float", p.reason)
            for p in self.model.plan
            if p.how == "float"
            and p.role in ("input", "activation")
            and p.grid is not None
            and not whole
            and p.name not in self.given
        ]
        return rows + [d for name, d in self.done.items() if name not in self.given] + floats

    def _untaken(self, name: str, encoding: Encoding) -> Decision:
        plan = self.model.plan.tensors.get(name)
        if plan is None:
            return Decision(name, "parameter", "it configures its operator and is not data")
        if plan.how == "float":
            return Decision(name, "taken" if encoding.grid.is_float else "float", plan.reason or "float16")
        if plan.how == "fused":
            return Decision(
                name,
                "fused",
                f"one operator with the activation after it, whose encoding is in force ({plan.layer} {plan.reason})",
            )
        if plan.how == "derived":
            derived = self.model.quantizers[name].encoding.scale
            same = torch.allclose(encoding.scale.reshape(-1), derived.reshape(-1), rtol=BIAS_TOLERANCE, atol=0)
            return Decision(name, "taken" if same else "derived", "scale of the input times scale of the weight")
        root = self.model.plan.root(name)
        same = root.name in self.model.quantizers and _same(encoding, self.model.quantizers[root.name].encoding)
        return Decision(name, "taken" if same else "shared", f"it moves '{root.name}' and keeps its encoding")


def _clamped(encoding: Encoding, bounds: tuple[float | None, float | None] | None) -> Encoding:
    """``encoding``, its range cut to ``bounds`` where it leaves them by more than a thousandth of a step."""
    if bounds is None:
        return encoding
    low = encoding.min
    high = encoding.max
    slack = 1e-3 * encoding.step
    if bounds[0] is not None and bool(low < bounds[0] - slack):
        low = torch.full_like(low, bounds[0])
    if bounds[1] is not None and bool(high > bounds[1] + slack):
        high = torch.full_like(high, bounds[1])
    if low is encoding.min and high is encoding.max:
        return encoding
    if torch.equal(low, encoding.min) and torch.equal(high, encoding.max):
        return encoding
    return encoding_from_range(low, high, replace(encoding.grid, symmetric=False, signed=False))


def _same(a: Encoding, b: Encoding) -> bool:
    return a.grid.bits == b.grid.bits and torch.equal(a.step, b.step) and torch.equal(a.offset, b.offset)


def _span(encoding: Encoding) -> str:
    return f"[{float(encoding.min):.6g}, {float(encoding.max):.6g}]"
