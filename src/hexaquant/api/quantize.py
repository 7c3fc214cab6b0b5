"""hq.quantize: from an imported graph and data to a calibrated QuantizedModel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hexaquant.analysis.data_check import doubts, look_at
from hexaquant.analysis.unlike_operands import find_unlike
from hexaquant.api.settings import GivenOverrides, Settings, resolve
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import Model
from hexaquant.folder.check_samples import first_of
from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import DEFAULT_SCHEME, Scheme
from hexaquant.htp.soc import DEFAULT_TARGET, Target
from hexaquant.io.batches import Batch
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import first_samples, input_specs
from hexaquant.ir.normalize import float_network, notes_of, require_static
from hexaquant.ir.sample_size import samples_in_a_run
from hexaquant.ptq.apply import State, apply_graph_steps, apply_recipe
from hexaquant.ptq.recipe import Recipe
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.planner import make_plan

LOOKED_AT = 8
"""Samples that show whether the operands of a Concat fit together."""

RANDOM = "random noise"
"""Source of :func:`random_data`, by which reports know that a model was calibrated on it."""


def quantize(
    model: Any,
    data: Any,
    *,
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    recipe: str | Recipe = "fast",
    overrides: GivenOverrides = None,
    batch_size: int = 16,
    example_inputs: tuple[Any, ...] | None = None,
    events: Events | None = None,
    state: State | None = None,
) -> Model:
    """Quantize ``model`` after training.

    ``model``: a Graph, a path or an nn.Module (then with ``example_inputs``); ``data``: calibration samples, any
    iterable of arrays, tuples or dicts, or what the command line's --data takes; ``overrides``: glob of tensors or
    layers -> scheme or settings, or a YAML file with these; ``recipe``: fast, best, plain, a YAML file or a Recipe;
    ``state``: where an interrupted run is continued from. Raises InputError, TargetError in one sentence for what
    cannot work.
    """
    reference = float_network(load(model, example_inputs=example_inputs))
    settings = resolve(target, scheme, recipe, overrides)
    return quantize_graph(reference, data, settings, batch_size=batch_size, events=events, state=state)


def quantize_graph(
    reference: Graph,
    data: Any,
    settings: Settings,
    *,
    batch_size: int = 16,
    events: Events | None = None,
    state: State | None = None,
) -> Model:
    """As :func:`quantize`, of a loaded float network by ``settings``."""
    require_static(reference)
    graph = reference.clone()
    prepare_for_target(graph, settings.target)
    dataset = open_data(data, reference)
    batch_size = samples_in_a_run(graph, batch_size)
    recipe = settings.recipe
    for note in notes_of(reference):
        (events or Events()).note("import", note)

    def plan(planned: Graph) -> QuantPlan:
        return make_plan(planned, settings.target, settings.scheme, settings.overrides)

    if recipe.graph_steps:
        plan(graph.clone())  # what the target refuses is refused before anything runs
    if dataset.source != RANDOM:
        say_what_data_are(dataset, events or Events())
    reports = apply_graph_steps(graph, lambda: counted_batches(dataset, batch_size), recipe, events, plan=plan)
    result = Model(graph, plan(graph))
    result.reference = reference
    result.data_source = dataset.source
    result.samples = first_of(dataset)
    result.overrides = dict(settings.overrides.document) or None
    reports += apply_recipe(result, lambda: counted_batches(dataset, batch_size), recipe, events, state)
    result.steps, result.recipe = tuple(asdict(report) for report in reports), recipe.document()
    warn_of_unlike_operands(result, dataset, events or Events())
    return result


def say_what_data_are(data: Dataset, events: Events) -> None:
    """One line for each input, and a warning for each thing that is wrong with the data."""
    if data.made:
        events.note("quantize", f"{data.source}: {data.made}")
    looks = look_at(data)
    for look in looks:
        events.note("quantize", look.words())
    for sentence in doubts(looks, "calibrate"):
        events.warn("quantize", sentence, doubt=True)


def warn_of_unlike_operands(model: Model, data: Dataset, events: Events) -> None:
    """Say which Concats spoil an operand, by what the first LOOKED_AT samples show of the float network."""
    samples = first_samples(data.batches(LOOKED_AT), data.specs, LOOKED_AT)
    for found in find_unlike(model.source_graph, model.plan, samples):
        layer = model.source_graph.origin(found.node)
        events.warn("quantize", f"{layer} (Concat): {found.text}; {found.why}; {found.fix}", doubt=True)


@dataclass(frozen=True)
class CountedBatches:
    """One pass of a dataset of known size, for progress bars that estimate the time left."""

    dataset: Dataset
    batch_size: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        return self.dataset.batches(self.batch_size)


def counted_batches(dataset: Dataset, batch_size: int) -> Iterable[Batch]:
    """A pass of ``dataset`` that knows its length where the dataset does."""
    count = dataset.batch_count(batch_size)
    return dataset.batches(batch_size) if count is None else CountedBatches(dataset, batch_size, count)


def random_data(graph: Graph, samples: int = 8, seed: int = 0) -> Dataset:
    """Standard normal noise for every float input: good for trying out a conversion, useless for accuracy."""
    rng = np.random.default_rng(seed)
    specs = input_specs(graph)
    items: list[dict[str, np.ndarray]] = []
    for _ in range(samples):
        item = {}
        for spec in specs:
            if not all(isinstance(d, int) for d in spec.sample_shape):
                raise InputError(f"input '{spec.name}' has free dimensions {spec.shape}: give them with --shape")
            dims = tuple(1 if i == spec.axis else int(d or 0) for i, d in enumerate(spec.shape))
            noise = rng.standard_normal(dims) if spec.dtype.kind == "f" else np.zeros(dims)
            item[spec.name] = noise.astype(spec.dtype)
        items.append(item)
    return Dataset(specs, lambda: items, RANDOM)
