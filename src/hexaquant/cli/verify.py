"""``hexaquant verify``: FP32 against simulation against target."""

from __future__ import annotations

from typing import Annotated

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console
from hexaquant.cli.data import RANDOM_WARNING
from hexaquant.cli.device import Device
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.report import refresh_page
from hexaquant.cli.reports import report_drawings

EPILOG = """Examples:

\b
  hexaquant verify out --data test.npz
  hexaquant verify out --data photos/ --images preprocessing.yaml --metric top5 --limit 500
  hexaquant verify out --data test.npz --device ssh:root@board --device-libs /usr/lib
  hexaquant verify out --data data.py:test --metric metrics.py:psnr --fail-below 30 --json

Outputs of the target are kept in OUT/.state: an interrupted run goes on where it stopped."""


@grouped
def verify(
    context: typer.Context,
    folder: o.FolderArgument,
    data: Annotated[str, typer.Option("--data", help=f"Evaluation data: {o.DATA_FORMS}.", show_default=False)],
    target: Annotated[str | None, typer.Option(help="SoC (default: the one it was quantized for).")] = None,
    metric: o.MetricOption = "top1",
    limit: o.LimitOption = None,
    workers: o.WorkersOption = None,
    fail_below: o.FailBelowOption = None,
    images: Images = None,
    device: Device = None,
    strict: o.StrictOption = False,
    json: o.JsonOption = False,
) -> None:
    """Run the same samples through FP32, simulation and target and compare."""
    console: Console = context.obj
    from hexaquant.api.remote import device_pool
    from hexaquant.api.verify import verify_folder

    with console.events(folder) as events:
        there = None
        if device is not None:
            there = device_pool(folder, device.address, device.options, target=target, events=events)
        report = verify_folder(
            folder,
            data,
            target=target,
            metric=o.metric_name(metric),
            limit=limit,
            workers=workers,
            images=images,
            device=there,
            events=events,
        )
    refresh_page(console, folder)
    if report["random_data"]:
        console.alarm(RANDOM_WARNING)
    console.result(report, *report_drawings(report))
    o.check_threshold(report, fail_below)
    o.check_strict(strict, console.doubts)
