"""``hexaquant mixed``: a scheme for each layer under a budget, as an overrides file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.data import calibration_data, check_choice
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Loading

EPILOG = """Examples:

\b
  hexaquant mixed net.onnx --data calib.npz --budget-bops 125% -o mixed.yaml
  hexaquant mixed net.onnx --data photos/ --budget-size 60% --choice w4a8 --choice w8a8 --json

Percentages are of the cost when every layer is w8a8. Then:
hexaquant deploy net.onnx --data calib.npz --scheme SCHEME --overrides mixed.yaml -o out

What --json prints, kept as out/mixed.json, is the curve in the page that hexaquant report out writes."""

BopsOption = Annotated[
    str | None, typer.Option(help="Bit operations a sample: a number, or percent of w8a8 (125%).", show_default="100%")
]
SizeOption = Annotated[str | None, typer.Option(help="Bytes of weights: a number, or percent of w8a8.")]
ChoiceOption = Annotated[
    list[str] | None, typer.Option("--choice", help="A scheme to choose from; repeat (default: all but w16a16).")
]
FileOption = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Overrides file to write.")]


@grouped
def mixed(
    context: typer.Context,
    model: o.ModelArgument,
    data: o.DataOption = None,
    target: o.TargetOption = o.DEFAULT_TARGET,
    budget_bops: BopsOption = None,
    budget_size: SizeOption = None,
    choice: ChoiceOption = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples that measure the layers.")] = 16,
    output: FileOption = None,
    loading: Loading = Loading(),
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Choose each layer's bits by sensitivity, under a budget; print the Pareto curve."""
    console: Console = context.obj
    check_choice(data, False)
    from hexaquant.api.mixed import CHOICES, mixed_precision
    from hexaquant.htp.scheme import find_scheme

    for name in choice or ():
        find_scheme(name)
    budget = {cost: value for cost, value in (("bops", budget_bops), ("size", budget_size)) if value is not None}
    graph = loading.network(model)
    with console.events() as events:
        found = mixed_precision(
            graph,
            calibration_data(graph, data, False, images),
            target=target,
            budget=budget or None,  # type: ignore[arg-type]
            choices=tuple(choice or CHOICES),
            samples=samples,
            events=events,
        )
    if output is not None:
        _write(output, found.overrides)
    document = found.to_json()
    console.result(document, lambda: _layers(document), lambda: _curve(document))


def _write(path: Path, overrides: dict[str, str]) -> None:
    import yaml

    from hexaquant.core.atomic import write_text

    write_text(path, yaml.safe_dump(overrides, sort_keys=False))


def _layers(document: dict[str, Any]) -> Any:
    rows = [[entry["layer"], entry["scheme"]] for entry in document["layers"]]
    return table(f"mixed precision for {document['target']}, scheme {document['scheme']}", ["layer", "scheme"], rows)


def _curve(document: dict[str, Any]) -> Any:
    entries = [("chosen", document["choice"]), *(("", entry) for entry in document["pareto"])]
    rows = [
        [mark, f"{e['predicted_sqnr_db']:.1f}", f"{e['bops']:,}", f"{e['size']:,}", str(e["converts"]), _counts(e)]
        for mark, e in entries
    ]
    return table("", ["", "SQNR dB", "bit operations", "bytes", "Converts", "layers"], rows, right=(1, 2, 3, 4))


def _counts(entry: dict[str, Any]) -> str:
    return ", ".join(f"{count} {scheme}" for scheme, count in sorted(entry["layers"].items()))
