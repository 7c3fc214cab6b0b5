"""``qnn-net-run``: a context binary or a DLC on the files of an input list -> OUTPUT_DIR/Result_N/<tensor>.raw."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.cli.tools.program import (
    BACKEND,
    LOG_LEVEL,
    MODEL,
    SOC,
    Messages,
    Program,
    check_backend,
    check_model,
    flag,
)
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from hexaquant.io.dataset import Dataset
    from hexaquant.qnn.tensor_io import TensorSpec

DATA_TYPES = ("float_only", "native_only", "float_and_native")
_ON_DEVICE = "it sets how a device runs, and this is the emulator"

PROGRAM = Program(
    name="qnn-net-run",
    summary="Run a context binary, or a DLC that is compiled on the fly, on Qualcomm's HTP emulator (on a device: the\n"
    "NPU) and write each output of inference N as OUTPUT_DIR/Result_N/<tensor>.raw, float32 unless native. Characters\n"
    "other than letters, digits, '_', '.' and '-' in names become '_'. Integers and float16 as the graph stores them\n"
    "are <tensor>_native.raw. Layouts are the network's own.",
    flags=(
        flag("--retrieve_context", metavar="BIN", type=Path, help="Context binary to run."),
        flag("--dlc_path", metavar="DLC", type=Path, help="DLC to compile for --soc and run."),
        flag(
            "--input_list",
            metavar="FILE",
            type=Path,
            required=True,
            help="One inference a line: raw files in the network's order of inputs, or NAME:=FILE for each; paths "
            "relative to the current folder or to the list. A first line that starts with %% or # names the outputs.",
        ),
        flag("--output_dir", metavar="DIR", type=Path, default=Path("output"), help="Default: ./output."),
        flag("--use_native_input_files", action="store_true", help="Input files hold what the graph stores."),
        flag("--use_native_output_files", action="store_true", help="The same as --output_data_type native_only."),
        flag("--output_data_type", choices=DATA_TYPES, help="float_only (the default), native_only, float_and_native."),
        flag("--num_inferences", metavar="N", type=int, help="Number of inferences; the list is repeated or cut."),
        flag("--keep_num_outputs", metavar="N", type=int, help="Write the outputs of the first N inferences only."),
        BACKEND,
        MODEL,
        SOC,
        LOG_LEVEL,
    ),
    example="qnn-net-run --backend libQnnHtp.so --retrieve_context output/model.bin --input_list input_list.txt",
    refused={
        "--batch_multiplier": "an input file may hold several samples, each becomes an inference",
        "--config_file": _ON_DEVICE,
        "--debug": "tensors inside the network are not written",
        "--duration": "give --num_inferences",
        "--graph_profiling_num_executions": "profiles are not written",
        "--graph_profiling_start_delay": "profiles are not written",
        "--input_data_type": "the spelling here is --use_native_input_files",
        "--max_input_cache_size_mb": "inputs are read one by one",
        "--max_input_cache_tensor_sets": "inputs are read one by one",
        "--model_prefix": "compiled model libraries cannot be read",
        "--native_input_tensor_names": "all inputs are native or none",
        "--op_packages": "custom operators are not here",
        "--perf_profile": _ON_DEVICE,
        "--platform_options": "there are none on the emulator",
        "--profiling_level": "profiles are not written",
        "--profiling_option": "profiles are not written",
        "--set_output_tensors": "name outputs in the first line of the input list, after %",
        "--shared_buffer": _ON_DEVICE,
        "--synchronous": "inferences are independent; their results do not depend on the order",
        "--timeout": "a hanging inference is ended after 600 s",
        "--use_mmap": _ON_DEVICE,
    },
)


@dataclass(frozen=True)
class Forms:
    """In which forms outputs are written."""

    as_float: bool
    native: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _net_run)


def _net_run(options: argparse.Namespace, tell: Messages) -> None:
    check_backend(options.backend)
    check_model(options.model, options.dlc_path)
    if (options.retrieve_context is None) == (options.dlc_path is None):
        raise InputError("give either --retrieve_context BIN or --dlc_path DLC")
    for name in ("num_inferences", "keep_num_outputs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; give at least 1")
    forms = _forms(options)
    with ExitStack() as stack:
        binary = options.retrieve_context or _compile(options, stack, tell)
        _run(binary, options, forms, tell)


def _forms(options: argparse.Namespace) -> Forms:
    wanted = options.output_data_type or ("native_only" if options.use_native_output_files else "float_only")
    if options.use_native_output_files and wanted == "float_only":
        raise InputError("--use_native_output_files and --output_data_type float_only contradict; leave one out")
    return Forms(wanted != "native_only", wanted != "float_only")


def _compile(options: argparse.Namespace, stack: ExitStack, tell: Messages) -> Path:
    """A context binary of the DLC that lives as long as ``stack``."""
    if not options.dlc_path.is_file():
        raise InputError(f"there is no DLC {options.dlc_path}; check the path")
    from hexaquant.cli.tools.context import Settings, choose_target, make_context

    target = choose_target(options.dlc_path, options.soc)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hexaquant-net-run-")))
    tell.info(f"compiling {options.dlc_path} for {target}")
    return make_context(options.dlc_path, folder, "model.bin", Settings(target)).path


def _run(binary: Path, options: argparse.Namespace, forms: Forms, tell: Messages) -> None:
    """Execute everything and write the outputs."""
    from hexaquant.cli.run import input_specs_of
    from hexaquant.io.input_list import input_list
    from hexaquant.qnn.pool import PoolOptions, run_many
    from hexaquant.qnn.runtime import Runtime
    from hexaquant.targets.soc import find_target

    native = options.use_native_input_files
    soc = None if options.soc is None else find_target(options.soc).model
    with Runtime(binary, float_io=not native, soc=soc) as runtime:
        if len(runtime.info.graphs) > 1:
            raise InputError(f"{binary} holds {len(runtime.info.graphs)} graphs; only binaries of one graph are run")
        specs, inputs, outputs = input_specs_of(runtime, native), runtime.inputs, runtime.outputs
    data = input_list(options.input_list, specs, native)
    wanted = _selected(options.input_list, outputs)
    tell.debug(f"inputs {', '.join(map(str, inputs))}; outputs {', '.join(map(str, wanted))}")
    feeds = _stored(_repeated(data, options.num_inferences), inputs, native)
    keep, count, start = options.keep_num_outputs, 0, time.monotonic()
    for count, found in enumerate(run_many(binary, feeds, PoolOptions(float_io=False, soc=soc)), 1):
        if keep is None or count <= keep:
            write_result(options.output_dir / f"Result_{count - 1}", found, wanted, forms)
    kept = count if keep is None else min(keep, count)
    seconds = time.monotonic() - start
    tell.info(f"{count} inferences in {seconds:.1f} s, outputs of {kept} in {options.output_dir}")


def _repeated(data: Dataset, count: int | None) -> Iterator[Mapping[str, np.ndarray]]:
    """The batches of the list once, or ``count`` of them, starting over at its end."""
    if count is None:
        return data.batches()
    return islice(chain.from_iterable(one.batches() for one in repeat(data)), count)


def _stored(
    batches: Iterator[Mapping[str, np.ndarray]], specs: Sequence[TensorSpec], native: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Each batch as the graph stores it; floats are rounded to the input's grid as Runtime does."""
    from hexaquant.qnn.tensor_io import prepare

    for batch in batches:
        yield {spec.name: prepare(batch[spec.name], spec, not native) for spec in specs}


def _selected(listed: Path, outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The outputs named in the list's first line, all of them where it names none."""
    first = next((line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()), "")
    names = first[1:].split() if first.startswith(("%", "#")) else []
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
    from hexaquant.cli.run import write_outputs
    from hexaquant.qnn.tensor_io import to_float

    files: list[tuple[str, np.ndarray]] = []
    for spec in outputs:
        stored = found[spec.name]
        real = to_float(stored, spec)
        if forms.native and stored.dtype != real.dtype:
            files.append((f"{spec.name}_native", stored))
        if forms.as_float or stored.dtype == real.dtype:
            files.append((spec.name, real))
    if len(dict(files)) < len(files):
        raise InputError("an output is called as another's native file would be; give --output_data_type float_only")
    write_outputs(folder, dict(files), "raw")
