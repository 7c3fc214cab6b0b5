"""Every rule, in the order in which findings of one layer are shown."""

from __future__ import annotations

from hexaquant.analysis.lint.rule import Rule
from hexaquant.analysis.lint.rules.attention_scale import attention_scale
from hexaquant.analysis.lint.rules.batchnorm import batchnorm
from hexaquant.analysis.lint.rules.coarse_16bit import coarse_16bit
from hexaquant.analysis.lint.rules.coarse_weight import coarse_weight
from hexaquant.analysis.lint.rules.dead_branch import dead_branch
from hexaquant.analysis.lint.rules.dead_channel import dead_channel
from hexaquant.analysis.lint.rules.decomposed import (
    decomposed_gelu,
    decomposed_hardswish,
    decomposed_layernorm,
    decomposed_rmsnorm,
)
from hexaquant.analysis.lint.rules.dynamic_reshape import dynamic_reshape
from hexaquant.analysis.lint.rules.dynamic_shape import dynamic_shape
from hexaquant.analysis.lint.rules.linear_as_convolution import linear_as_convolution
from hexaquant.analysis.lint.rules.long_tail import long_tail
from hexaquant.analysis.lint.rules.outlier_channel import outlier_channel
from hexaquant.analysis.lint.rules.overflowing_constant import overflowing_constant
from hexaquant.analysis.lint.rules.refused import refused
from hexaquant.analysis.lint.rules.reshape_chain import reshape_chain
from hexaquant.analysis.lint.rules.rewritten import rewritten
from hexaquant.analysis.lint.rules.softmax_input import softmax_input
from hexaquant.analysis.lint.rules.transpose_chain import transpose_chain
from hexaquant.analysis.lint.rules.weak_16bit import weak_16bit
from hexaquant.analysis.lint.rules.wide_residual import wide_residual
from hexaquant.analysis.lint.rules.wide_type import wide_type
from hexaquant.analysis.lint.rules.wrong_encoding import wrong_encoding

RULES: tuple[Rule, ...] = (
    Rule("refused", "layers that the target refuses or computes wrongly", refused),
    Rule("dynamic-shape", "inputs with free dimensions beside the batch", dynamic_shape),
    Rule("dynamic-reshape", "shapes that are computed while the network runs", dynamic_reshape),
    Rule("wide-type", "tensors in float64", wide_type),
    Rule("weak-16-bit", "products with 16-bit activations before Hexagon v73", weak_16bit),
    Rule("coarse-16-bit", "operators whose 16-bit kernels are far from 16 bits", coarse_16bit),
    Rule("overflowing-constant", "constants beyond float16 or that spoil a grid", overflowing_constant),
    Rule("batchnorm", "BatchNormalization that is not folded", batchnorm, measured=True),
    Rule("decomposed-gelu", "GELU written out in many operators", decomposed_gelu),
    Rule("decomposed-layernorm", "LayerNorm written out in many operators", decomposed_layernorm),
    Rule("decomposed-rmsnorm", "RMSNorm written out in many operators", decomposed_rmsnorm),
    Rule("decomposed-hardswish", "HardSwish written out in many operators", decomposed_hardswish),
    Rule("attention-scale", "factors that a linear layer could take", attention_scale),
    Rule("linear-as-convolution", "constant matrices from the left: 1x1 convolutions", linear_as_convolution),
    Rule("transpose-chain", "Transposes that cancel", transpose_chain),
    Rule("reshape-chain", "Reshapes of Reshapes", reshape_chain),
    Rule("dead-branch", "operators, inputs and outputs without effect", dead_branch),
    Rule("rewritten", "operators that hexaquant writes in another form", rewritten),
    Rule("coarse-weight", "weights that their grid holds badly", coarse_weight, measured=True),
    Rule("dead-channel", "output channels without weights", dead_channel),
    Rule("outlier-channel", "one channel far larger than the others", outlier_channel, measured=True),
    Rule("long-tail", "ranges set by a few values", long_tail, "data", measured=True),
    Rule("wide-residual", "sums too coarse for what is added", wide_residual, "data", measured=True),
    Rule("softmax-input", "scores on a coarse grid", softmax_input, "data", measured=True),
    Rule("wrong-encoding", "encodings that disagree with data or weights", wrong_encoding, "encodings"),
)
NAMES = tuple(rule.name for rule in RULES)
