"""The steps that recipes are made of, by the name they have in YAML.

A new one is a class in one of the two files and a line below.
"""

from __future__ import annotations

from typing import Any

from hexaquant.ptq.steps.graph_steps import (
    AbsorbBiases,
    EqualizeLayers,
    FoldNormScale,
    RotateBottlenecks,
    RotateTransformer,
    SmoothActivations,
)
from hexaquant.ptq.steps.model_steps import (
    Calibrate,
    ChooseRanges,
    CorrectBiases,
    ReconstructBlocks,
    RefineRanges,
    RefitOutputs,
    RoundWeights,
)

STEPS: dict[str, type[Any]] = {
    "calibrate": Calibrate,
    "correct_biases": CorrectBiases,
    "refit_outputs": RefitOutputs,
    "choose_ranges": ChooseRanges,
    "refine_ranges": RefineRanges,
    "round_weights": RoundWeights,
    "reconstruct_blocks": ReconstructBlocks,
    "equalize_layers": EqualizeLayers,
    "smooth_activations": SmoothActivations,
    "absorb_biases": AbsorbBiases,
    "rotate_transformer": RotateTransformer,
    "rotate_bottlenecks": RotateBottlenecks,
    "fold_norm_scale": FoldNormScale,
}
