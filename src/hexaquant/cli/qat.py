"""``hexaquant qat``: train an artifact folder towards its FP32 network, without labels."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.image_options import Images, takes_image_options
from hexaquant.cli.quantize import file_table

EPILOG = """Examples:

\b
  hexaquant qat out --data photos.npz --epochs 2
  hexaquant qat out --data data.py:batches --steps 500 --ema 0.99

Trains on four fifths of the data and measures on the rest. An interrupted run goes on where it stopped when the
same command is given again. Then: hexaquant compile out; hexaquant verify out --data test.npz"""

DataOption = Annotated[
    str, typer.Option("--data", help=f"Training data, labels not needed: {o.DATA_FORMS}.", show_default=False)
]


@takes_image_options
def qat(
    context: typer.Context,
    folder: o.FolderArgument,
    data: DataOption,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps, instead of --epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of a step.")] = 32,
    loss: Annotated[str, typer.Option(help="mse (of any outputs) or kl (of logits).")] = "mse",
    lr: Annotated[float, typer.Option(help="Rate of weights, relative to their size.")] = 1e-3,
    encoding_lr: Annotated[float, typer.Option(help="Rate of scales and offsets, relative; 0 keeps them.")] = 1e-3,
    ema: Annotated[float | None, typer.Option(help="Decay of a moving average of all parameters, e.g. 0.99.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of torch's random numbers.")] = 0,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Train the quantized network towards FP32 (distillation) and export it again."""
    console: Console = context.obj
    from hexaquant.api.qat import finetune_folder

    options: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "loss": loss,
        "lr": lr,
        "encoding_lr": encoding_lr,
        "ema": ema,
    }
    with console.events() as events:
        done = finetune_folder(folder, data, images=images, batch_size=batch_size, seed=seed, events=events, **options)
    document: dict[str, Any] = {
        "folder": str(folder),
        "steps": done.run.steps,
        "resumed_from": done.run.resumed_from,
        "first_loss": done.run.losses[0],
        "last_loss": done.run.losses[-1],
        "sqnr_before": done.sqnr_before,
        "sqnr_after": done.sqnr_after,
        "files": {f.name: {"path": str(f), "bytes": f.stat().st_size} for f in done.exported.files},
    }
    console.result(document, lambda: _quality(document), lambda: file_table(document["files"]))


def _quality(document: dict[str, Any]) -> Any:
    rows = [["before", f"{document['sqnr_before']:.1f} dB"], ["after", f"{document['sqnr_after']:.1f} dB"]]
    title = f"simulation against FP32, held-out fifth, {document['steps']} steps"
    return table(title, ["", "SQNR"], rows, right=(1,))
