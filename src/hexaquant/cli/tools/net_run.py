"""``qnn-net-run``: a context binary or DLCs on the files of input lists -> OUTPUT_DIR/Result_N/<tensor>.raw."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.cli.tools.program import (
    LIBRARIES,
    LOG_LEVEL,
    PROFILING_LEVEL,
    PROFILING_REFUSED,
    SOC,
    Messages,
    Program,
    check_libraries,
    flag,
    paths_of,
    profiling_level,
)
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from hexaquant.io.dataset import Dataset
    from hexaquant.qnn.profile import Level, Stage
    from hexaquant.qnn.runtime import Runtime
    from hexaquant.qnn.tensor_io import TensorSpec


# What qnn-net-run reads and writes: lists of input files, which inputs are native, result files.

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
            f"give one list per graph; {SKIP} skips a graph"
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


_ON_DEVICE = "it sets how a device runs, and this is the emulator"
PROGRAM = Program(
    name="qnn-net-run",
    summary="Run a context binary, or DLCs that are compiled on the fly, on Qualcomm's HTP emulator (on a device: the\n"
    "NPU) and write each output of inference N as OUTPUT_DIR/Result_N/<tensor>.raw, float32 unless native; where\n"
    "several graphs run, as OUTPUT_DIR/<graph>/Result_N. Characters other than letters, digits, '_', '.' and '-' in\n"
    "names become '_'. Integers and float16 as the graph stores them are <tensor>_native.raw. Layouts are the\n"
    "network's own.",
    flags=(
        flag("--retrieve_context", metavar="BIN", type=Path, help="Context binary to run."),
        flag("--dlc_path", metavar="DLC[,DLC]", help="DLC to compile for --soc and run; several: with commas."),
        flag(
            "--input_list",
            metavar="FILE[,FILE]",
            required=True,
            help="One inference per line: raw files in the network's order of inputs, or NAME:=FILE for each; paths "
            "relative to the current folder or to the list. A first line that starts with %% or # names the outputs. "
            "One list per graph, with commas; __ skips a graph.",
        ),
        flag("--output_dir", metavar="DIR", type=Path, default=Path("output"), help="Default: ./output."),
        flag("--use_native_input_files", action="store_true", help="Input files hold what the graph stores."),
        flag("--native_input_tensor_names", metavar="NAME[,NAME]", help="Files of these inputs hold what it stores."),
        flag("--input_data_type", choices=("float", "native"), help="native: the same as --use_native_input_files."),
        flag("--use_native_output_files", action="store_true", help="The same as --output_data_type native_only."),
        flag("--output_data_type", choices=DATA_TYPES, help="float_only (the default), native_only, float_and_native."),
        flag("--num_inferences", metavar="N", type=int, help="Number of inferences; the list is repeated or cut."),
        flag("--keep_num_outputs", metavar="N", type=int, help="Write the outputs of the first N inferences only."),
        PROFILING_LEVEL,
        *LIBRARIES,
        SOC,
        LOG_LEVEL,
    ),
    example="qnn-net-run --backend libQnnHtp.so --retrieve_context output/model.bin --input_list input_list.txt",
    refused={
        "--batch_multiplier": "an input file may hold several samples, each becomes an inference",
        "--config_file": _ON_DEVICE,
        "--debug": "tensors inside the network are not written",
        "--duration": "give --num_inferences",
        "--graph_profiling_num_executions": "every execution is profiled",
        "--graph_profiling_start_delay": "every execution is profiled",
        "--max_input_cache_size_mb": "inputs are read one by one",
        "--max_input_cache_tensor_sets": "inputs are read one by one",
        "--model_prefix": "compiled model libraries cannot be read",
        "--op_packages": "custom operators are not here",
        "--perf_profile": _ON_DEVICE,
        "--platform_options": "there are none on the emulator",
        "--profiling_option": PROFILING_REFUSED,
        "--set_output_tensors": "name outputs in the first line of the input list, after %",
        "--shared_buffer": _ON_DEVICE,
        "--synchronous": "inferences are independent; their results do not depend on the order",
        "--timeout": "a hanging inference is ended after 600 s, or what HEXAQUANT_CHILD_SECONDS says",
        "--use_mmap": _ON_DEVICE,
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _net_run)


def _net_run(options: argparse.Namespace, tell: Messages) -> None:
    dlcs = [] if options.dlc_path is None else paths_of(options.dlc_path)
    check_libraries(options)
    if (options.retrieve_context is None) == (not dlcs):
        raise InputError("give either --retrieve_context BIN or --dlc_path DLC")
    for name in ("num_inferences", "keep_num_outputs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; give at least 1")
    level = profiling_level(options)
    stages: list[Stage] = []
    forms_of(options)
    with ExitStack() as stack:
        binary = options.retrieve_context or _compile(dlcs, options, level, stages, stack, tell)
        soc = _run(binary, options, level, stages, tell)
    if level is not None:
        _write_profile(options, level, soc, stages, tell)


def _compile(
    dlcs: Sequence[Path],
    options: argparse.Namespace,
    level: Level | None,
    stages: list[Stage],
    stack: ExitStack,
    tell: Messages,
) -> Path:
    """A context binary of the DLCs that lives as long as ``stack``."""
    from hexaquant.cli.tools.context import choose_targets, graph_names, make_context

    graphs = graph_names(dlcs)
    targets = choose_targets(dlcs, options.soc, ())
    if len(targets) > 1:
        raise InputError("--target_soc_model names several SoCs, but a run has one; name one")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hexaquant-net-run-")))
    tell.info(f"compiling {', '.join(map(str, dlcs))} for {targets[0]}")
    report = make_context(graphs, folder, "model.bin", targets[0], profiling=level)
    stages += report.stages
    return report.path


def _run(binary: Path, options: argparse.Namespace, level: Level | None, stages: list[Stage], tell: Messages) -> int:
    """Execute everything and write the outputs; the SoC model of the binary."""
    from hexaquant.htp.soc import find_target
    from hexaquant.qnn.runtime import Runtime

    soc = None if options.soc is None else find_target(options.soc).model
    with ExitStack() as stack:
        runtime = stack.enter_context(Runtime(binary, float_io=False, soc=soc, profiling=level))
        jobs = jobs_of(options.input_list, [graph.name for graph in runtime.info.graphs])
        for job in jobs:
            if job.graph != runtime.graph:
                runtime.close()
                runtime = stack.enter_context(Runtime(binary, float_io=False, graph=job.graph, profiling=level))
            folder = options.output_dir if len(jobs) == 1 else options.output_dir / job.graph
            _run_graph(runtime, job, folder, options, tell)
            stages += runtime.profile()
        return runtime.info.soc_model


def _run_graph(runtime: Runtime, job: Job, folder: Path, options: argparse.Namespace, tell: Messages) -> None:
    """All inferences of one graph; with a profile one after the other, so that nothing else slows what is measured."""
    from hexaquant.cli.run_input import input_specs_of
    from hexaquant.io.input_lines import read_input_lines
    from hexaquant.io.input_list import listed_data

    native = native_inputs(options, runtime.inputs)
    specs = input_specs_of(runtime, native)
    listed = read_input_lines(job.listed, [spec.name for spec in specs])
    data = listed_data(listed, specs, job.listed.name, native)
    wanted = chosen_outputs(job.listed, listed.outputs, runtime.outputs)
    tell.debug(f"inputs {', '.join(map(str, runtime.inputs))}; outputs {', '.join(map(str, wanted))}")
    feeds = stored(repeated(data, options.num_inferences), runtime.inputs, native)
    keep = options.keep_num_outputs
    count = 0
    start = time.monotonic()
    forms = forms_of(options)
    results = runtime.map(feeds) if options.profiling_level is None else map(runtime.run, feeds)
    for count, found in enumerate(results, 1):
        if keep is None or count <= keep:
            write_result(folder / f"Result_{count - 1}", found, wanted, forms)
    kept = count if keep is None else min(keep, count)
    tell.info(f"{count} inferences in {time.monotonic() - start:.1f} s, outputs of {kept} in {folder}")


def _write_profile(
    options: argparse.Namespace, level: Level, soc: int, stages: Sequence[Stage], tell: Messages
) -> None:
    from hexaquant.qnn.profile import EMULATOR_NOTE, FILE, Profile, write_profile

    path = options.output_dir / FILE
    write_profile(path, Profile(PROGRAM.name, level, soc, tuple(stages)))
    tell.info(f"{path}: profile; qnn-profile-viewer --input_log {path}")
    tell.warn(EMULATOR_NOTE)
