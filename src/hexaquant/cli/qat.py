"""``hexaquant qat``: train an artifact folder, or a network's file, towards its FP32 network, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Quantization
from hexaquant.cli.quantize import file_table
from hexaquant.cli.report import refresh_page
from hexaquant.cli.training_options import Training
from hexaquant.core.errors import InputError

EPILOG = """Examples:

\b
  hexaquant qat out --data photos.npz --epochs 2
  hexaquant qat net.onnx --data photos/ --image-size 224 --scheme w4a8 -o out
  hexaquant qat out --data data.py:batches --steps 2000 --ema 0.99 --patience 5 --log-dir logs
  hexaquant qat out --data photos.npz --batchnorm batch --freeze-oscillations 0.01
  torchrun --nproc-per-node 4 -m hexaquant qat out --data photos.npz

Trains on four fifths of the data and measures on the rest. An interrupted run goes on where it stopped when the
same command is given again; a finished one is kept unless --again trains it further.
Then: hexaquant compile out; hexaquant verify out --data test.npz"""

SourceArgument = Annotated[
    str, typer.Argument(metavar="OUT|MODEL", help=f"Artifact folder, or what to quantize first: {o.MODEL_HELP}")
]
OutOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="OUT", help="With MODEL: artifact folder to write.")
]
DataOption = Annotated[
    str, typer.Option("--data", help=f"Training data, labels not needed: {o.DATA_FORMS}.", show_default=False)
]


@grouped
def qat(
    context: typer.Context,
    source: SourceArgument,
    data: DataOption,
    out: OutOption = None,
    training: Training = Training(),
    how: Quantization = Quantization(),
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Train the quantized network towards FP32 (distillation) and export it again.

    --target, --scheme, --recipe, --overrides and --shape are for MODEL; a folder has its own.
    """
    console: Console = context.obj
    folder = _folder_of(source, out)
    from hexaquant.api.qat import finetune_folder
    from hexaquant.core import ranks

    with console.events(folder) as events:
        if out is not None:
            _quantize(source, out, data, images, how, events)
        done = finetune_folder(folder, data, images=images, events=events, **training.keywords)
    if ranks.rank() == 0:
        refresh_page(console, folder)
        document = _document(folder, done)
        console.result(document, lambda: _quality(document), lambda: file_table(document["files"]))


def _folder_of(source: str, out: Path | None) -> Path:
    """The folder to train. Raises InputError when it is not clear what is meant."""
    is_folder = (Path(source) / "manifest.json").is_file()
    if out is None and not is_folder and not Path(source).is_dir():
        raise InputError(f"{source} is no artifact folder; for a network also say where to write with -o OUT")
    if out is not None and is_folder:
        raise InputError(f"{source} is an artifact folder already and is trained in place; leave out -o")
    return Path(source) if out is None else out


def _quantize(source: str, out: Path, data: str, images: Any, how: Quantization, events: Any) -> None:
    """PTQ of a network on the part of the data that will train it."""
    import os

    from hexaquant.api.deploy import quantize_folder
    from hexaquant.io.data import open_data

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("quantize in one process first (hexaquant quantize), then start several with the folder")
    settings = how.settings()

    graph = how.network(source)
    training, _ = open_data(data, graph, images).split()
    quantize_folder(graph, training, out, settings, events=events)


def _document(folder: Path, done: Any) -> dict[str, Any]:
    return {
        "folder": str(folder),
        **done.summary,
        "reused": done.reused,
        "files": {f.name: {"path": str(f), "bytes": f.stat().st_size} for f in done.exported.files},
    }


def _quality(document: dict[str, Any]) -> Any:
    rows = [["before", f"{document['sqnr_before']:.1f} dB"], ["after", f"{document['sqnr_after']:.1f} dB"]]
    title = f"simulation against FP32, held-out fifth, {document['steps']} steps"
    return table(title, ["", "SQNR"], rows, right=(1,))
