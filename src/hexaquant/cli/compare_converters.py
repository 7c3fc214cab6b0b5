"""``hexaquant compare-converters``: every way from a network to the NPU on the same samples."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, number, table
from hexaquant.cli.data import calibration_data, check_choice
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Loading

EPILOG = """Examples:

\b
  hexaquant compare-converters net.onnx --data calib.npz
  hexaquant compare-converters net.onnx --data photos/ --images pre.yaml --scheme w8a8 --o-level 3 --json

Ways: encodings by file or by QDQ nodes, w8a8 and w8a16, one scale per channel or a tensor of weights, O1 to O3."""


@grouped
def compare_converters(
    context: typer.Context,
    model: o.ModelArgument,
    data: o.DataOption = None,
    target: o.TargetOption = o.DEFAULT_TARGET,
    scheme: Annotated[list[str] | None, typer.Option(help="Repeat for several (default: w8a8, w8a16).")] = None,
    o_level: Annotated[
        list[int] | None, typer.Option("--o-level", min=1, max=3, help="Repeat for several (default: 1, 2, 3).")
    ] = None,
    recipe: o.RecipeOption = "fast",
    metric: o.MetricOption = "top1",
    limit: Annotated[int, typer.Option(min=1, help="Measure on the first N samples; all calibrate.")] = 32,
    soc: Annotated[
        str, typer.Option("--estimate-soc", help="SoC of the estimates (see hexaquant estimate).")
    ] = "sa8255p",
    loading: Loading = Loading(),
    random_data: o.RandomOption = False,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Convert a network in all the ways there are, run each on the same samples, and table what comes out."""
    console: Console = context.obj
    check_choice(data, random_data)
    from hexaquant.analysis.metrics import find_metric
    from hexaquant.api import compare_converters as api

    graph = loading.network(model)
    chosen = o.metric_name(metric)
    with console.events() as events:
        document = api.compare_converters(
            graph,
            calibration_data(graph, data, random_data, images),
            target=target,
            schemes=scheme or api.SCHEMES,
            o_levels=o_level or (1, 2, 3),
            recipe=recipe,
            metric=None if chosen is None else find_metric(chosen),
            limit=limit,
            estimate_soc=soc,
            events=events,
        )
    console.result(document, lambda: ways_table(document), lambda: notes(document))


def ways_table(document: dict[str, Any]) -> Any:
    """A row for each way; equal letters in the last column mean byte-identical binaries."""
    columns = ["scheme", "scales", "encodings by", "O", "SQNR dB", "same top-1", document["metric"] or "metric",
               "DLC B", "binary B", "us", "binary"]  # fmt: skip
    letters: dict[str, str] = {}
    rows = []
    for row in document["rows"]:
        head = [row["scheme"], f"a {row['granularity']}", row["carrier"], row["o_level"]]
        if row["error"] is not None:
            rows.append([*head, "refused"])
            continue
        letter = letters.setdefault(row["binary_sha256"], chr(ord("a") + len(letters)))
        share = number(100 * row["agreement"], 1, " %")
        score = number(row["metric"], 4)
        sizes = [f"{row['dlc_bytes']:,}", f"{row['binary_bytes']:,}"]
        rows.append([*head, number(row["sqnr_db"], 2), share, score, *sizes, row["estimate"]["us"], letter])
    title = f"{document['network']} on {document['target']}, {document['samples']} samples against FP32"
    filled = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    return table(title, columns, filled, right=(3, 4, 5, 6, 7, 8, 9))


def notes(document: dict[str, Any]) -> str:
    """What the figures are, and why ways were refused."""
    lines = [
        f"us: estimate of Qualcomm's library for {document['estimate_soc']}, no measurement; "
        "binary: equal letters are byte-identical files"
    ]
    if document["fp32"] is not None:
        lines.append(f"FP32 itself: {document['metric']} {document['fp32']:.4f}")
    errors = dict.fromkeys(row["error"] for row in document["rows"] if row["error"] is not None)
    return "\n".join([*lines, *(f"refused: {error}" for error in errors)])
