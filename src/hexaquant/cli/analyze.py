"""``hexaquant analyze``: what each quantizer costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, number, table
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.report import refresh_page
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.cli.fitted import Fitted

EPILOG = """Examples:

\b
  hexaquant analyze out --data test.npz
  hexaquant analyze out --data photos/ --images preprocessing.yaml --metric sqnr --samples 64
  hexaquant analyze out --data data.py:test --metric metrics.py:psnr --workers ray --json

Writes OUT/analysis.json. An interrupted run goes on where it stopped."""

WORST = 10
MetricOption = Annotated[str, typer.Option(help="top1, top5, module:function (executed), or sqnr for SQNR alone.")]
WorkersOption = Annotated[str | None, typer.Option(help="Processes, or ray for a cluster (default: one per core).")]


@grouped
def analyze(
    context: typer.Context,
    folder: o.FolderArgument,
    data: o.SamplesOption,
    metric: MetricOption = "top1",
    samples: Annotated[int, typer.Option(min=1, help="Samples to measure on.")] = 32,
    workers: WorkersOption = None,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Quantize each tensor alone, and all but it: what each costs; ranges, histograms, outlier channels."""
    console: Console = context.obj
    processes = parse_workers(workers)
    from hexaquant.api.analyze import analyze as run

    with console.events(folder) as events:
        found = run(
            folder,
            data,
            metric=o.metric_name(metric),
            samples=samples,
            workers=processes,
            images=images,
            events=events,
        )
    refresh_page(console, folder)
    document = found.to_dict()
    names = [quantizer.name for quantizer in found.worst(WORST)]
    console.result(document, lambda: heading(document), lambda: worst_table(document, names))


def parse_workers(text: str | None) -> Any:
    """A number of processes, "ray", or None. Raises InputError for anything else."""
    if text is None or text == "ray":
        return text
    if not text.isdigit() or not int(text):
        raise InputError(f"--workers {text} is neither a number of processes nor ray; correct it")
    return int(text)


def heading(document: Mapping[str, Any]) -> str:
    """Two lines: samples, and what the whole network loses."""
    simulation = document["simulation"]
    fp32 = document["fp32"]
    line = f"all quantizers on: {number(simulation['sqnr_db'], 1, ' dB')} SQNR of the outputs"
    if document["metric"] is not None:
        line += f", {document['metric']} {number(simulation['metric'], 4)} (FP32 {number(fp32['metric'], 4)})"
    return f"{len(document['quantizers'])} quantizers on {document['samples']} samples\n{line}"


def worst_table(document: Mapping[str, Any], names: list[str]) -> Fitted:
    """The quantizers that cost most; SQNR in dB."""
    entries = {entry["name"]: entry for entry in document["quantizers"]}
    whole = document["simulation"]["sqnr_db"]
    rows = []
    for name in names:
        entry = entries[name]
        on = entry["alone_on"]
        off = entry["alone_off"]
        gain = None if off["sqnr_db"] is None or whole is None else off["sqnr_db"] - whole
        where = entry["origin"] or entry["layer"]
        rows.append([where, f"{entry['kind']}, {bits_text(entry['bits'])}", number(on["sqnr_db"]), _signed(gain)])
    columns = ["worst layers", "quantizer", "alone on, dB", "without it, dB"]
    return table("", columns, rows, right=(2, 3))


def bits_text(bits: int | str) -> str:
    """ "8 bits", "float16"."""
    return bits if isinstance(bits, str) else f"{bits} bits"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
