"""``hexaquant auto``: the cheapest setting whose accuracy holds on the target."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.data import calibration_data, check_choice
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Loading
from hexaquant.cli.report import write_page
from hexaquant.cli.reports import report_drawings
from hexaquant.core.errors import ThresholdMissed

EPILOG = """Examples:

\b
  hexaquant auto net.onnx --data calib.npz --eval-data test.npz --max-drop 0.5 --target sm8650 -o out
  hexaquant auto model.py:build --data data.py:calib --eval-data data.py:test --metric metric.py:map50 -o out

A metric of 1 is 100 points. Interrupted, the same command goes on where it stopped. When no setting holds, OUT has
the best one found and the exit code is 1."""


@grouped
def auto(
    context: typer.Context,
    model: o.ModelArgument,
    out: o.OutOption,
    data: o.DataOption = None,
    eval_data: str | None = typer.Option(None, help="Labelled data (default: a held-out fifth of --data)."),
    max_drop: Annotated[float, typer.Option(help="Points of the metric that may be lost against FP32.")] = 0.5,
    metric: Annotated[str, typer.Option(help="top1, top5 or module:function (executed).")] = "top1",
    target: o.TargetOption = o.DEFAULT_TARGET,
    loading: Loading = Loading(),
    limit: o.LimitOption = None,
    workers: o.WorkersOption = None,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Find the cheapest scheme and technique that hold the accuracy, in simulation and on the target."""
    console: Console = context.obj
    check_choice(data, False)
    from hexaquant.api.auto import auto as run

    with console.events(out) as events:
        graph = loading.network(model)
        report = run(
            graph,
            calibration_data(graph, data, False, images),
            out,
            max_drop=max_drop,
            eval_data=eval_data,
            metric=metric,
            target=target,
            limit=limit,
            workers=workers,
            images=images,
            events=events,
        )
    write_page(console, out)
    found = report["auto"]
    console.result(report, lambda: _attempts(found), lambda: _verdict(found), *report_drawings(report))
    if not found["met"]:
        raise ThresholdMissed(found["advice"])


def _attempts(found: dict[str, Any]) -> Any:
    rows = [
        [a["name"], _points(a["fp32"]), _points(a["sim"]), _points(a["target"]), a["why"]] for a in found["attempts"]
    ]
    columns = ["attempt", "FP32", "simulation", "target", "why"]
    return table(f"{found['metric']} in points, {found['max_drop']:g} may be lost", columns, rows, right=(1, 2, 3))


def _points(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.2f}"


def _verdict(found: dict[str, Any]) -> str:
    return f"chosen: {found['chosen']} ({found['why']})"
