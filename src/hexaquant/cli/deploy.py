"""``hexaquant deploy``: from a network to an accuracy measured on the target."""

from __future__ import annotations

from typing import Annotated

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console
from hexaquant.cli.data import RANDOM_WARNING, calibration_data, check_choice
from hexaquant.cli.image_options import Images
from hexaquant.cli.lint import write_lint
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Quantization
from hexaquant.cli.report import write_page
from hexaquant.cli.reports import report_drawings

EPILOG = """Examples:

\b
  hexaquant deploy net.onnx --data calib.npz --eval-data test.npz --target sm8650 -o out
  hexaquant deploy net.onnx --data photos/ --image-size 224 --mean 0.5 --std 0.5 --scheme w8a16 -o out
  hexaquant deploy model.py:build --data data.py:batches --fail-below 0.9 --json -o out > report.json
  hexaquant deploy net.onnx --random-data --shape x=1,3,320,320 -o trial

A second run on the same OUT keeps the steps whose inputs did not change."""


@grouped
def deploy(
    context: typer.Context,
    model: o.ModelArgument,
    out: o.OutOption,
    data: o.DataOption = None,
    eval_data: str | None = o.option(o.DATA, None, help="Data to verify on (default: a held-out fifth of --data)."),
    how: Quantization = Quantization(),
    metric: o.MetricOption = "top1",
    limit: o.LimitOption = None,
    workers: o.WorkersOption = None,
    encodings_version: o.VersionOption = "1.0.0",
    random_data: o.RandomOption = False,
    fail_below: o.FailBelowOption = None,
    force: o.ForceOption = False,
    correct_on_target: o.CorrectOption = False,
    report_page: Annotated[
        bool,
        o.option(o.OUTPUT, "--report/--no-report", help="Write OUT/report.html (extra [report])."),
    ] = True,
    images: Images = None,
    strict: o.StrictOption = False,
    json: o.JsonOption = False,
) -> None:
    """Quantize, export, compile and verify a network: FP32, simulation and target side by side."""
    console: Console = context.obj
    check_choice(data, random_data)
    from hexaquant.api.deploy import deploy as run
    from hexaquant.report import REPORT

    settings = how.settings(encodings_version)
    with console.events(out) as events:
        graph = how.network(model)
        report = run(
            graph,
            calibration_data(graph, data, random_data, images),
            out,
            eval_data=eval_data,
            target=settings.target,
            scheme=settings.scheme,
            recipe=settings.recipe,
            overrides=settings.overrides,
            metric=o.metric_name(metric),
            limit=limit,
            workers=workers,
            encodings_version=encodings_version,
            images=images,
            force=force,
            correct_on_target=correct_on_target,
            report=False,  # written below, when the manifest has this command
            events=events,
        )
    if report_page:
        write_lint(console, out, settings)
        write_page(console, out)
    elif (out / REPORT).is_file():
        console.warn(f"{out / REPORT} shows an earlier run: hexaquant report {out} writes it again")
    if random_data:
        console.alarm(RANDOM_WARNING)
    console.result(report, *report_drawings(report))
    o.check_threshold(report, fail_below)
    o.check_strict(strict, console.doubts)
