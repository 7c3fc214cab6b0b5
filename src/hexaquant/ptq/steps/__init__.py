"""The steps that recipes are made of, by the name they have in YAML. A new step is one file here and one line below."""

from __future__ import annotations

from typing import Any

from hexaquant.ptq.steps.absorb_biases import AbsorbBiases
from hexaquant.ptq.steps.calibrate import Calibrate
from hexaquant.ptq.steps.choose_ranges import ChooseRanges
from hexaquant.ptq.steps.correct_biases import CorrectBiases
from hexaquant.ptq.steps.equalize_layers import EqualizeLayers
from hexaquant.ptq.steps.fold_norm_scale import FoldNormScale
from hexaquant.ptq.steps.reconstruct_blocks import ReconstructBlocks
from hexaquant.ptq.steps.refine_ranges import RefineRanges
from hexaquant.ptq.steps.refit_outputs import RefitOutputs
from hexaquant.ptq.steps.rotate_bottlenecks import RotateBottlenecks
from hexaquant.ptq.steps.rotate_transformer import RotateTransformer
from hexaquant.ptq.steps.round_weights import RoundWeights
from hexaquant.ptq.steps.smooth_activations import SmoothActivations

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
