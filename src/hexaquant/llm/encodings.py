"""A decoder's graphs with one set of encodings for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import CONVERT, Graph, constant
from hexaquant.llm.feeds import Feed, chunks
from hexaquant.llm.graphs import COS, MASK, SIN, Form, example_inputs, trace
from hexaquant.llm.rope import Rope, genie_rope
from hexaquant.llm.static_decoder import Shapes, probe_layers, twin_of
from hexaquant.ptq.apply import apply_graph_steps, apply_recipe
from hexaquant.ptq.gate import inner
from hexaquant.ptq.recipe import Recipe
from hexaquant.ptq.step import GraphStep, StepReport
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.planner import make_plan

MASKED = -50.0
"""What the mask adds to a score that does not count: exp(-50) is far below one step of 16 bits."""


@dataclass(frozen=True)
class Decoder:
    """``model``: the FP32 module; ``form``, ``rope``: see graphs.py, rope.py; ``shapes``: of the graphs, the prompt
    graph of the longest context first."""

    model: Any
    form: Form
    rope: Rope | None
    shapes: tuple[Shapes, ...]


def describe(model: Any, contexts: int | Sequence[int], prompt: int) -> Decoder:
    """The decoder's form. Raises InputError for networks that are no decoders, and for sizes that do not fit."""
    lengths = sorted({contexts} if isinstance(contexts, int) else set(contexts), reverse=True)
    if not lengths or not 1 <= prompt < lengths[-1]:
        least = lengths[-1] if lengths else 0
        raise InputError(f"prompt chunks of {prompt} tokens do not fit a context of {least}: give 1 to {least - 1}")
    context = lengths[0]
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and context > limit:
        raise InputError(f"the network knows {limit} positions, so its context cannot be {context}: give --context")
    layers = probe_layers(twin_of(model))
    windowed = any(layer.window is not None and layer.window < context for layer in layers)
    rope = None if windowed else genie_rope(model, context)
    form = Form(
        layers,
        "index" if rope is None else "rotary",
        0 if rope is None else rope.width,
        MASKED,
        int(model.config.vocab_size),
    )
    sizes = sorted({prompt, 1}, reverse=True)
    return Decoder(model, form, rope, tuple(Shapes(size, length) for length in lengths for size in sizes))


@dataclass(frozen=True)
class Settings:
    """How to quantize. ``cache_bits``: 8 or 16, of keys and values; ``overrides``: the user's, over Genie's form."""

    target: Target
    scheme: Scheme
    recipe: Recipe
    cache_bits: int = 8
    overrides: Mapping[str, Any] | None = None

    def model(self, graph: Graph, form: Form) -> QuantizedModel:
        """The simulation of ``graph``, not calibrated; puts converts into ``graph``."""
        own = io_overrides(graph, form, self.cache_bits)
        return QuantizedModel(
            graph, make_plan(graph, self.target, self.scheme, parse_overrides({**own, **(self.overrides or {})}))
        )


@dataclass(frozen=True)
class Shared:
    """What the other graphs take over from the prompt graph: names, and the ``steps`` that rewrote it."""

    outline: Outline
    steps: tuple[GraphStep, ...]
    reports: tuple[StepReport, ...]


def quantize_prompt(
    decoder: Decoder, sequences: Sequence[Sequence[int]], settings: Settings, events: Events | None = None
) -> tuple[QuantizedModel, Shared]:
    """Rewrite and calibrate the prompt graph on ``sequences`` of tokens."""
    log = events or Events()
    recipe = settings.recipe
    first = decoder.shapes[0]
    graph = _prepared(decoder, first)

    def plan(planned: Graph) -> QuantPlan:
        return settings.model(planned, decoder.form).plan

    if recipe.graph_steps:
        plan(graph.clone())  # what the target refuses is refused before anything runs
    data = partial(batches, decoder, first, sequences, graph.clone())
    reports = apply_graph_steps(graph, data, recipe, log, plan=plan)
    outline = outline_of(graph)
    data = partial(batches, decoder, first, sequences, graph.clone())
    model = settings.model(graph, decoder.form)
    reports += apply_recipe(model, data, recipe, log)
    return model, Shared(outline, tuple(_kept(recipe, reports)), tuple(reports))


def _kept(recipe: Recipe, reports: Sequence[StepReport]) -> list[GraphStep]:
    """The steps that rewrote the graph."""
    verdicts = [report.details.get("held_out", {}).get("verdict", "kept") for report in reports]
    return [inner(step) for step, verdict in zip(recipe.graph_steps, verdicts) if verdict == "kept"]  # type: ignore[misc]


def _prepared(decoder: Decoder, shapes: Shapes) -> Graph:
    graph = trace(decoder.model, decoder.form, shapes)
    prepare_for_target(graph)
    return graph


def sibling(
    decoder: Decoder, shapes: Shapes, shared: Shared, constants: Graph, encodings: Mapping[str, Encoding],
    settings: Settings,
) -> QuantizedModel:  # fmt: skip
    """The simulation of the same network for other ``shapes``, with ``constants`` and ``encodings`` of the first."""
    graph = _prepared(decoder, shapes)
    if not fits(graph, shared.outline):  # a step added or removed operators
        zeros = {name: tensor.numpy() for name, tensor in example_inputs(decoder.form, shapes).items()}
        for step in shared.steps:
            step.apply_to_graph(graph, lambda: [zeros], Events())
    align_names(graph, shared.outline)
    _copy_constants(graph, constants)
    model = settings.model(graph, decoder.form)
    missing = model.set_encodings(encodings)
    if missing:
        raise InputError(f"{graph.source} has a tensor '{missing[0]}' that {constants.source} has not")
    return model


def _copy_constants(graph: Graph, source: Graph) -> None:
    """Float constants of the same name and shape become those of ``source``."""
    theirs = source.initializers
    for name, value in graph.initializers.items():
        data = constant(theirs.get(name))
        own = constant(value)
        if data is not None and own is not None and data.dtype.kind == "f" and data.shape == own.shape:
            value.const_value = theirs[name].const_value


def io_overrides(graph: Graph, form: Form, cache_bits: int) -> dict[str, Any]:
    """What Genie's form asks of the encodings, as overrides; puts a convert on each new key and value (in place)."""
    found: dict[str, Any] = {MASK: {"bits": 16, "observer": "min_max"}}
    if form.positions == "rotary":
        found["cosine and sine"] = {"tie": [COS, SIN], "bits": 16, "observer": "min_max"}
    for name in form.cache_names():
        joined = _convert_output(graph, f"{name}_out", cache_bits)
        members = [f"{name}_in", f"{name}_out", joined]
        found[f"cache {name}"] = {"tie": members, "bits": cache_bits, "symmetric": True, "observer": "min_max"}
    return found


def _convert_output(graph: Graph, name: str, bits: int) -> str:
    """Put a convert before the output ``name``, for the Concat with the cache too; returns that Concat's output."""
    value = next(v for v in graph.outputs if v.name == name)
    readers = [(node, index) for node, index in value.uses()]
    joined = next(node for node, _ in readers if node.op_type == "Concat")
    producer = value.producer()
    assert producer is not None
    value.name = f"{name}_wide"
    metadata = {**joined.metadata_props, CONVERT: f"symmetric:{bits}"}
    node = oir.Node("", "Identity", [value], name=f"{name}_convert", metadata_props=metadata)
    output = node.outputs[0]
    output.name = name
    output.type = value.type
    output.shape = value.shape
    graph.model.graph.insert_before(joined, node)
    for reader, index in readers:
        reader.replace_input_with(index, output)
    graph.model.graph.outputs[graph.outputs.index(value)] = output
    return joined.outputs[0].name or ""


def batches(decoder: Decoder, shapes: Shapes, sequences: Sequence[Sequence[int]], graph: Graph) -> Iterator[Feed]:
    """The chunks of ``sequences``, with the cache that the float ``graph`` gives."""
    network = build_module(graph, share=True)
    names = decoder.form.output_names()

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = network(*[torch.as_tensor(inputs[name]) for name in decoder.form.input_names()])
        return {name: tensor.numpy() for name, tensor in zip(names, outputs)}

    yield from chunks(decoder.form, decoder.rope, shapes, sequences, run)


@dataclass(frozen=True)
class Outline:
    """A graph without its numbers: each node's operator, name, and names of its inputs and outputs ("" for none)."""

    source: str
    nodes: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]


def outline_of(graph: Graph) -> Outline:
    """The outline of ``graph`` as it is now."""
    return Outline(graph.source, tuple(_outline(node) for node in graph.nodes))


def _outline(node: oir.Node) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    inputs = tuple("" if value is None else value.name or "" for value in node.inputs)
    return node.op_type, node.name or "", inputs, tuple(value.name or "" for value in node.outputs)


def fits(graph: Graph, like: Outline) -> bool:
    """True when ``graph`` has the operators of ``like``, connected in the same way."""
    return _renamed(graph, like) is not None


def _renamed(graph: Graph, like: Outline) -> dict[oir.Value, str] | None:
    """The name in ``like`` of each value of ``graph``; None where the two are not the same network."""
    found: dict[oir.Value, str] = {}
    if [node.op_type for node in graph.nodes] != [node[0] for node in like.nodes]:
        return None
    for node, (_, _, inputs, outputs) in zip(graph.nodes, like.nodes):
        mine = [*node.inputs, *node.outputs]
        if len(mine) != len(inputs) + len(outputs):
            return None
        for value, name in zip(mine, [*inputs, *outputs]):
            if (value is None) != (not name) or (value is not None and found.setdefault(value, name) != name):
                return None
    return found if len(set(found.values())) == len(found) else None


def align_names(graph: Graph, like: Outline) -> None:
    """Give the tensors and nodes of ``graph`` the names that they have in ``like``.

    Raises InputError where the two are not the same network.
    """
    names = _renamed(graph, like)
    if names is None:
        raise InputError(f"{graph.source} has other operators than {like.source}: they cannot share encodings")
    for index, value in enumerate(names):
        value.name = f"hexaquant_renamed_{index}"
    for value, name in names.items():
        value.name = name
    for node, (_, name, _, _) in zip(graph.nodes, like.nodes):
        node.name = name
