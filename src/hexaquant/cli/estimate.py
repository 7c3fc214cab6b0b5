"""``hexaquant estimate``: Qualcomm's compile-time performance estimates for the SoCs that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.report import refresh_page

EPILOG = """Examples:

\b
  hexaquant estimate out
  hexaquant estimate net.dlc --soc sa8255p --soc qcs9100 --o-level 3 --json

Estimates exist for the SoC models 52 (sa8255p), 62, 63, 72, 77 (qcs9100), 95 and 114, for no phone. They compare
networks, bit widths and O levels; they are no measurement."""


def estimate(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="OUT|DLC", help="Artifact folder, or a DLC.")],
    soc: Annotated[list[str] | None, typer.Option(help="SoC or its number; repeat for several.")] = None,
    o_level: Annotated[
        list[int] | None, typer.Option("--o-level", min=1, max=3, help="Repeat for several (default: 1, 2, 3).")
    ] = None,
    json: o.JsonOption = False,
) -> None:
    """Estimated cycles, microseconds and memory traffic of one inference, by O level, for the SoC named."""
    console: Console = context.obj
    from hexaquant.api.estimate import DEFAULT_SOC
    from hexaquant.api.estimate import estimate as make

    with console.events(path if path.is_dir() else None) as events:
        document = make(path, soc or (DEFAULT_SOC,), o_level or (1, 2, 3), events)
    refresh_page(console, path)
    note = f"{document['note']}; kept in {document['file']}"
    console.result(document, lambda: estimates_table(document), lambda: note)


def estimates_table(document: dict[str, Any]) -> Any:
    """A row for each SoC, O level and graph."""
    columns = ["SoC", "graph", "O", "us", "us, bounds", "cycles", "DDR in", "spilled", "filled", "DDR out", "no cost"]
    rows = [
        [
            e["soc"],
            e["graph"],
            e["o_level"],
            e["us"],
            f"{e['us_low']} .. {e['us_high']}",
            f"{e['cycles']:,}",
            f"{e['input_fill']:,}",
            f"{e['intermediate_spill']:,}",
            f"{e['intermediate_fill']:,}",
            f"{e['output_spill']:,}",
            e["ops_without_cost"],
        ]
        for e in document["estimates"]
    ]
    return table(f"{document['dlc']}: estimated, one inference (bytes of memory traffic)", columns, rows,
                 right=(2, 3, 4, 5, 6, 7, 8, 9, 10))  # fmt: skip
