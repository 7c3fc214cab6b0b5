"""``hexaquant run``: a context binary on files, results as Result_N/<output>.raw as Qualcomm's tools write them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, number, table
from hexaquant.cli.device import ProfiledDevice
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.run_input import data_of, find_binary, input_specs_of
from hexaquant.cli.run_results import result_table, written
from hexaquant.core.errors import InputError

# ``hexaquant run --throughput``: latency percentiles and requests a second.

MOST_SAMPLES = 256
"""Samples of the user's data that are kept in memory and sent in turn."""


def run_throughput(
    console: Console,
    binary: Path,
    target: str | None,
    given: tuple[list[str], Path | None],
    native: bool,
    seconds: float,
    callers: int,
    workers: int | None,
) -> None:
    """Measure and show. ``given``: --input texts and --input-list; random inputs where both are empty."""
    from itertools import islice

    from hexaquant.api.throughput import measure_throughput, random_inputs
    from hexaquant.qnn.runtime import Runtime

    path, soc = find_binary(binary, target)
    with Runtime(path, float_io=not native, soc=soc, workers=workers) as runtime:
        if given[0] or given[1] is not None:
            data = data_of(input_specs_of(runtime, native), *given, native)
            items: list[Any] = list(islice(data.batches(), MOST_SAMPLES))
        else:
            items = list(random_inputs(runtime))
        report = measure_throughput(runtime, items, seconds, callers)
    document = {"binary": str(path), **report.to_dict()}
    console.result(document, lambda: _table(document))


def _table(document: dict[str, Any]) -> Any:
    title = f"{number(document['per_second'], 1)} a second, {document['callers']} callers"
    rows = [[name, number(value, 1)] for name, value in document["latency_ms"].items()]
    rows += [[f"failed: {message}", str(count)] for message, count in document["failures"].items()]
    return table(title, ["latency", "ms"], rows, right=(1,))


EPILOG = """Examples:

\b
  hexaquant run out --input x=image.npy -o results
  hexaquant run out/model.sm8650.bin --input-list input_list.txt --format npy -o results
  hexaquant run out --input-list input_list.txt -o results --device ssh:root@board --device-libs /usr/lib
  hexaquant run out --throughput 10 --callers 4

Each sample is one folder Result_0, Result_1 ...; floats in and out unless --native."""
FORMATS = ("raw", "npy")


@grouped
def run(
    context: typer.Context,
    binary: Annotated[Path, typer.Argument(metavar="BIN|OUT", help="Context binary, or an artifact folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=FILE.npy or .npz; repeat for more inputs. Axis 0 is samples."),
    ] = None,
    input_list: Annotated[Path | None, typer.Option(help="One inference per line: NAME:=FILE.raw ...")] = None,
    target: Annotated[str | None, typer.Option(help="Which binary of an artifact folder.")] = None,
    form: Annotated[str, typer.Option("--format", help="raw (float32, or the stored type) or npy.")] = "raw",
    native: Annotated[bool, typer.Option("--native", help="Stored integers in and out instead of floats.")] = False,
    throughput: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Measure requests a second and latency instead; random inputs if none."),
    ] = None,
    callers: Annotated[int, typer.Option(help="With --throughput: callers that send requests at once.")] = 4,
    workers: o.WorkersOption = None,
    device: ProfiledDevice = None,
    json: o.JsonOption = False,
) -> None:
    """Execute a context binary on the emulator (on a device: the NPU) and write its outputs."""
    console: Console = context.obj
    if throughput is not None and device is not None:
        raise InputError("--throughput measures here, not on a device; leave one of them out")
    if throughput is not None:
        run_throughput(console, binary, target, (inputs or [], input_list), native, throughput, callers, workers)
        return
    if bool(inputs) == (input_list is not None):
        raise InputError("give either --input NAME=FILE.npy or --input-list FILE")
    if output is None:
        raise InputError("give a folder for the results with -o DIR")
    if form not in FORMATS:
        raise InputError(f"--format {form} does not exist; choose {' or '.join(FORMATS)}")
    if device is not None:
        from hexaquant.cli.device import run_there

        run_there(console, binary, target, device, (inputs or [], input_list), output, form, native)
        return
    from hexaquant.qnn.runtime import Runtime

    path, soc = find_binary(binary, target)
    with Runtime(path, float_io=not native, soc=soc, workers=workers) as runtime, console.events() as events:
        data = data_of(input_specs_of(runtime, native), inputs or [], input_list, native)
        with closing(events.track(runtime.map(data.batches()), "execute", None)) as results:
            document = written(path, results, output, form)
    console.result(document, lambda: result_table(document))
