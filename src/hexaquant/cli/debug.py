"""``hexaquant debug``: which layer makes it inaccurate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, number, table
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.report import refresh_page

if TYPE_CHECKING:
    from hexaquant.cli.console import Fitted

EPILOG = """Examples:

\b
  hexaquant debug out --data test.npz
  hexaquant debug out --data photos/ --images preprocessing.yaml --mode isolated --samples 8
  hexaquant debug out --data test.npz --encodings other.encodings --no-target --json

Writes OUT/debug.json."""

SHOWN = 12
"""Rows of the table: around the first tensors that part, else the worst."""
ModeOption = Annotated[str, typer.Option(help="Figures of whole runs (cumulative), or of each layer alone (isolated).")]
FileOption = Annotated[Path | None, typer.Option("--encodings", help="Encodings to look at (default: those of OUT).")]
TargetSwitch = Annotated[bool, typer.Option("--target/--no-target", help="Compare with the emulator too.")]


@grouped
def debug(
    context: typer.Context,
    folder: o.FolderArgument,
    data: o.SamplesOption,
    mode: ModeOption = "cumulative",
    samples: Annotated[int, typer.Option(min=1, help="Samples to compare on.")] = 4,
    encodings: FileOption = None,
    target: TargetSwitch = True,
    workers: o.WorkersOption = None,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Compare FP32, simulation and target tensor by tensor; name the layer that parts them, and why."""
    console: Console = context.obj
    from hexaquant.api.debug import debug as run

    with console.events(folder) as events:
        report = run(
            folder,
            data,
            mode=mode,  # type: ignore[arg-type]
            samples=samples,
            encodings=encodings,
            target=target,
            workers=workers,
            images=images,
            events=events,
        )
    refresh_page(console, folder)
    document = report.to_dict()
    console.result(document, lambda: tensor_table(document), lambda: findings_text(document))


def tensor_table(document: Mapping[str, Any]) -> Fitted:
    """SQNR in dB of the tensors around the first that part; of all where there are few."""
    marks = {
        document["first_simulation_leaves_fp32"]: "simulation leaves FP32",
        document["first_target_leaves_simulation"]: "target leaves simulation",
    }
    rows = []
    for entry in shown_rows(document["tensors"], [name for name in marks if name is not None]):
        figures = [number(entry[f"sqnr_{pair}_db"]) for pair in ("fp32_sim", "sim_target", "fp32_target")]
        mark = marks.get(entry["name"])
        where = entry["origin"] or entry["layer"]
        rows.append([f"{where}\n^ {mark}" if mark else where, entry["op"], str(entry["bits"]), *figures])
    title = f"SQNR in dB, {document['mode']}, {document['samples']} samples"
    return table(title, ["layer", "op", "bits", "sim/FP32", "target/sim", "target/FP32"], rows, right=(2, 3, 4, 5))


def shown_rows(entries: list[dict[str, Any]], first: list[str]) -> list[dict[str, Any]]:
    """At most SHOWN of ``entries`` in order: those around the tensors ``first``, and the last."""
    if len(entries) <= SHOWN:
        return entries
    at = [index for index, entry in enumerate(entries) if entry["name"] in first] or [len(entries) - 1]
    each = SHOWN // len(at)
    wanted = {len(entries) - 1}
    for index in at:
        start = max(0, min(index - each // 2, len(entries) - each))
        wanted |= set(range(start, start + each - 1)) | {index}
    return [entries[index] for index in sorted(wanted)]


def findings_text(document: Mapping[str, Any]) -> str:
    """One paragraph a finding."""
    found = document["findings"]
    if not found:
        return "No layer stands out: the error is spread over the network as its bits let expect."
    return "\n".join(f"{f['origin'] or f['layer']}: {f['text']}\n  fix: {f['fix']}" for f in found)
