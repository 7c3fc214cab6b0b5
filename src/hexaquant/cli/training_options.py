"""The options of ``hexaquant qat`` that say how it trains."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

FeaturesOption = Annotated[
    list[str] | None, typer.Option("--feature", help="Glob of inner tensors to draw towards FP32 too; repeat for more.")
]
ValidateOption = Annotated[int | None, typer.Option(min=1, help="Steps; keeps the best on the held-out data.")]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Train a folder further that was trained with the same options and data.")
]


@dataclass(frozen=True)
class Training:
    """Settings of a run, under the names of hq.finetune."""

    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 1
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps, instead of --epochs.")] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of a step, over all processes.")] = 32
    loss: Annotated[str, typer.Option(help="mse (of any outputs) or kl (of logits).")] = "mse"
    feature: FeaturesOption = None
    feature_weight: Annotated[float, typer.Option(help="Weight of the inner tensors in the loss.")] = 1.0
    mode: Annotated[str, typer.Option(help="Ranges: lsq or pact (learned), ema (moving average), fixed.")] = "lsq"
    batchnorm: Annotated[str, typer.Option(help="folded, or batch: batch statistics until the end.")] = "folded"
    lr: Annotated[float, typer.Option(help="Rate of weights, relative to their size.")] = 1e-3
    encoding_lr: Annotated[float, typer.Option(help="Rate of scales and offsets, relative; 0 keeps them.")] = 1e-3
    ema: Annotated[float | None, typer.Option(help="Decay of a moving average of all parameters, e.g. 0.99.")] = None
    dampening: Annotated[float, typer.Option(min=0, help="Draws weights to the grid (oscillation dampening).")] = 0.0
    freeze_oscillations: Annotated[
        float | None, typer.Option(help="Freeze weights that oscillate this often at the end, e.g. 0.01.")
    ] = None
    validate_every: ValidateOption = None
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many validations without a gain.")] = None
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32"
    log_dir: Annotated[Path | None, typer.Option(help="TensorBoard logs.")] = None
    seed: Annotated[int, typer.Option(help="Seed of random numbers.")] = 0
    again: AgainOption = False

    @property
    def keywords(self) -> dict[str, Any]:
        """What api.qat.finetune_folder takes."""
        given = asdict(self)
        given["features"] = tuple(given.pop("feature") or ())
        return given
