"""What qnn-net-run reads and writes: lists of input files, which inputs are native, result files."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from hexaquant.io.dataset import Dataset
    from hexaquant.qnn.tensor_io import TensorSpec

DATA_TYPES = ("float_only", "native_only", "float_and_native")
SKIP = "__"
"""In place of an input list: the graph is not run."""


@dataclass(frozen=True)
class Job:
    """A graph and the list of its input files."""

    graph: str
    listed: Path


@dataclass(frozen=True)
class Forms:
    """In which forms outputs are written."""

    as_float: bool
    native: bool


def forms_of(options: argparse.Namespace) -> Forms:
    """--output_data_type and --use_native_output_files. Raises InputError when they contradict."""
    wanted = options.output_data_type or ("native_only" if options.use_native_output_files else "float_only")
    if options.use_native_output_files and wanted == "float_only":
        raise InputError("--use_native_output_files and --output_data_type float_only contradict; leave one out")
    return Forms(wanted != "native_only", wanted != "float_only")


def jobs_of(text: str, graphs: Sequence[str]) -> list[Job]:
    """--input_list: the list of each graph, in the binary's order. Raises InputError when their numbers differ."""
    lists = [text] if Path(text).is_file() else text.split(",")
    if len(lists) != len(graphs):
        raise InputError(
            f"--input_list has {len(lists)} lists but the binary holds {len(graphs)} graphs ({', '.join(graphs)}); "
            f"give one a graph, {SKIP} for those that shall not run"
        )
    jobs = [Job(graph, Path(listed)) for graph, listed in zip(graphs, lists) if listed != SKIP]
    if not jobs:
        raise InputError("--input_list skips every graph; give the list of one")
    return jobs


def native_inputs(options: argparse.Namespace, inputs: Sequence[TensorSpec]) -> frozenset[str]:
    """The inputs whose files hold what the graph stores. Raises InputError for contradictions and unknown names."""
    known = {name: spec.name for spec in inputs for name in (spec.lowered or spec.name, spec.name)}
    named = [name for name in (options.native_input_tensor_names or "").split(",") if name]
    for name in named:
        if name not in known:
            raise InputError(f"--native_input_tensor_names: there is no input '{name}', only {', '.join(known)}")
    everything = options.use_native_input_files or options.input_data_type == "native"
    if options.input_data_type == "float" and (everything or named):
        raise InputError("--input_data_type float contradicts the flags of native inputs; leave one out")
    return frozenset(known.values() if everything else (known[name] for name in named))


def repeated(data: Dataset, count: int | None) -> Iterator[Mapping[str, np.ndarray]]:
    """The batches of the list once, or ``count`` of them, starting over at its end."""
    if count is None:
        return data.batches()
    return islice(chain.from_iterable(one.batches() for one in repeat(data)), count)


def stored(
    batches: Iterator[Mapping[str, np.ndarray]], specs: Sequence[TensorSpec], native: Collection[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Each batch as the graph stores it; floats are rounded to the input's grid as Runtime does."""
    from hexaquant.qnn.tensor_io import prepare

    for batch in batches:
        yield {spec.name: prepare(batch[spec.name], spec, spec.name not in native) for spec in specs}


def chosen_outputs(listed: Path, names: Sequence[str], outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The outputs ``names`` of the list's first line, all of them where it names none."""
    known = {name: spec for spec in outputs for name in (spec.lowered or spec.name, spec.name)}
    for name in names:
        if name not in known:
            raise InputError(
                f"{listed} asks for '{name}' but the binary's outputs are {', '.join(spec.name for spec in outputs)}; "
                "tensors inside the network cannot be written"
            )
    return [known[name] for name in names] or list(outputs)


def write_result(folder: Path, found: Mapping[str, np.ndarray], outputs: Sequence[TensorSpec], forms: Forms) -> None:
    """Write the ``outputs`` of one inference into ``folder``. ``found``: arrays as the graph stores them."""
    from hexaquant.cli.run_results import write_outputs
    from hexaquant.qnn.tensor_io import to_float

    files: list[tuple[str, np.ndarray]] = []
    for spec in outputs:
        held = found[spec.name]
        real = to_float(held, spec)
        if forms.native and held.dtype != real.dtype:
            files.append((f"{spec.name}_native", held))
        if forms.as_float or held.dtype == real.dtype:
            files.append((spec.name, real))
    if len(dict(files)) < len(files):
        raise InputError("an output is called as another's native file would be; give --output_data_type float_only")
    write_outputs(folder, dict(files), "raw")
