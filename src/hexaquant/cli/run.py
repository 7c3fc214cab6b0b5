"""``hexaquant run``: a context binary on files, results as Result_N/<output>.raw as Qualcomm's tools write them."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, number, table
from hexaquant.cli.device_options import Device, takes_device_options
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from hexaquant.bundle.card import ModelCard
    from hexaquant.io.dataset import Dataset
    from hexaquant.io.input_spec import InputSpec
    from hexaquant.qnn.runtime import Runtime

EPILOG = """Examples:

\b
  hexaquant run out --input x=image.npy -o results
  hexaquant run out/model.sm8650.bin --input-list input_list.txt --format npy -o results
  hexaquant run out --input-list input_list.txt -o results --device ssh:root@board --device-libs /usr/lib
  hexaquant run out --throughput 10 --callers 4

Each sample is one folder Result_0, Result_1 ...; floats in and out unless --native."""

FORMATS = ("raw", "npy")
_FORBIDDEN = re.compile(r"[^\w.-]")


@takes_device_options()
def run(
    context: typer.Context,
    binary: Annotated[Path, typer.Argument(metavar="BIN|OUT", help="Context binary, or an artifact folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=FILE.npy; repeat for more inputs. Axis 0 is samples.")
    ] = None,
    input_list: Annotated[Path | None, typer.Option(help="One inference a line: NAME:=FILE.raw ...")] = None,
    target: Annotated[str | None, typer.Option(help="Which binary of an artifact folder.")] = None,
    form: Annotated[str, typer.Option("--format", help="raw (float32, or the stored type) or npy.")] = "raw",
    native: Annotated[bool, typer.Option("--native", help="Stored integers in and out instead of floats.")] = False,
    throughput: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Measure requests a second and latency instead; random inputs if none."),
    ] = None,
    callers: Annotated[int, typer.Option(help="With --throughput: callers that send requests at once.")] = 4,
    workers: o.WorkersOption = None,
    device: Device = None,
    json: o.JsonOption = False,
) -> None:
    """Execute a context binary on the emulator (on a device: the NPU) and write its outputs."""
    console: Console = context.obj
    if throughput is not None and device is not None:
        raise InputError("--throughput measures here, not on a device; leave one of them out")
    if throughput is not None:
        from hexaquant.cli.throughput import run_throughput

        run_throughput(console, binary, target, (inputs or [], input_list), native, throughput, callers, workers)
        return
    if bool(inputs) == (input_list is not None):
        raise InputError("give either --input NAME=FILE.npy or --input-list FILE")
    if output is None:
        raise InputError("give a folder for the results with -o DIR")
    if form not in FORMATS:
        raise InputError(f"--format {form} does not exist; choose {' or '.join(FORMATS)}")
    if device is not None:
        from hexaquant.cli.device_run import run_there

        run_there(console, binary, target, device, (inputs or [], input_list), output, form, native)
        return
    from hexaquant.qnn.runtime import Runtime

    path, soc = find_binary(binary, target)
    with Runtime(path, float_io=not native, soc=soc) as runtime:
        specs = input_specs_of(runtime, native)
    data = data_of(specs, inputs or [], input_list, native)
    document = _execute(console, path, data, output, form, native, workers)
    console.result(document, lambda: result_table(document))


def find_binary(path: Path, target: str | None) -> tuple[Path, int | None]:
    """The context binary ``path``, or the one for ``target`` in the artifact folder ``path``; and its SoC model.

    The SoC model is None where nobody said what it should be.
    """
    from hexaquant.targets.soc import find_target

    if not path.is_dir():
        return path, None if target is None else find_target(target).model
    from hexaquant.api.artifacts import open_folder
    from hexaquant.api.compile import binary_name

    folder, manifest = open_folder(path)
    soc = find_target(target or manifest.target)
    binary = folder / binary_name(soc)
    if not binary.is_file():
        raise InputError(f"{binary} does not exist: run hexaquant compile {folder} --target {soc.name} first")
    return binary, soc.model


def input_specs_of(runtime: Runtime | ModelCard, native: bool | Collection[str]) -> tuple[InputSpec, ...]:
    """What the compiled graph takes, as the data readers want it: float32 for quantized inputs unless ``native``.

    ``native``: of all inputs, or the names of those that are given as they are stored.
    """
    import numpy as np

    from hexaquant.io.input_spec import InputSpec

    first = runtime.inputs[0].shape[:1]
    specs = []
    for spec in runtime.inputs:
        stored = native if isinstance(native, bool) else spec.name in native
        as_float = not stored and (spec.scale is not None or spec.dtype.kind == "f")
        dtype = np.dtype(np.float32) if as_float else spec.dtype
        specs.append(InputSpec(spec.name, dtype, spec.shape, spec.shape[:1] == first))
    return tuple(specs)


def data_of(specs: tuple[InputSpec, ...], inputs: list[str], listed: Path | None, native: bool) -> Dataset:
    """The samples in ``inputs`` (NAME=FILE.npy) or in the input list ``listed``."""
    from hexaquant.io.data import from_iterable
    from hexaquant.io.input_list import input_list

    if listed is not None:
        return input_list(listed, specs, native)
    return from_iterable([dict(_read(text) for text in inputs)], specs, "--input")


def _read(text: str) -> tuple[str, np.ndarray]:
    import numpy as np

    name, equals, file = text.partition("=")
    if not equals:
        raise InputError(f"--input {text} is not of the form NAME=FILE.npy; correct it")
    try:
        return name, np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"--input {text}: there is no file {file}; check the path") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--input {text}: {file} is not a readable .npy file ({error}); write it again") from None


def _execute(
    console: Console, path: Path, data: Dataset, folder: Path, form: str, native: bool, workers: int | None
) -> dict[str, Any]:
    """Run all samples, write their outputs, and say what was done."""
    from hexaquant.qnn.pool import PoolOptions, run_many

    options = PoolOptions(workers=workers, float_io=not native)
    with console.events() as events:
        return written(path, run_many(path, data.batches(), options, events=events), folder, form)


def written(path: Path, results: Iterable[Mapping[str, np.ndarray]], folder: Path, form: str) -> dict[str, Any]:
    """Write each of ``results`` below ``folder``; what was done, as the document to print."""
    seen: dict[str, dict[str, Any]] = {}
    count, start = 0, time.monotonic()
    for count, outputs in enumerate(results, 1):
        write_outputs(folder / f"Result_{count - 1}", outputs, form)
        _note(seen, outputs)
    seconds = round(time.monotonic() - start, 3)
    done = {"binary": str(path), "inferences": count, "seconds": seconds, "folder": str(folder)}
    return {**done, "outputs": list(seen.values())}


def write_outputs(folder: Path, outputs: Mapping[str, np.ndarray], form: str) -> None:
    """One file an output, each whole or not at all; characters that file names cannot have become underscores."""
    import numpy as np

    from hexaquant.core.atomic import write_bytes

    stems = {name: _FORBIDDEN.sub("_", name) for name in outputs}
    if len(set(stems.values())) < len(stems):
        raise InputError(f"outputs {', '.join(stems)} differ only in characters that file names lack; rename one")
    for name, array in outputs.items():
        if form == "npy":
            buffer = io.BytesIO()
            np.save(buffer, array)
            content = buffer.getvalue()
        else:
            content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        write_bytes(folder / f"{stems[name]}.{form}", content)


def _note(seen: dict[str, dict[str, Any]], outputs: Mapping[str, np.ndarray]) -> None:
    """Widen the range of each output."""
    for name, array in outputs.items():
        low, high = float(array.min()), float(array.max())
        entry = seen.setdefault(
            name, {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "min": low, "max": high}
        )
        entry["min"], entry["max"] = min(entry["min"], low), max(entry["max"], high)


def result_table(document: Mapping[str, Any]) -> Any:
    title = f"{document['inferences']} inferences in {document['seconds']:.1f} s -> {document['folder']}"
    rows = [
        [e["name"], "x".join(map(str, e["shape"])), e["dtype"], number(e["min"], 4), number(e["max"], 4)]
        for e in document["outputs"]
    ]
    return table(title, ["output", "shape", "dtype", "min", "max"], rows, right=(3, 4))
