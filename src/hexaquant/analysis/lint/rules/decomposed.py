"""Functions that the target has as one operator, written out in many.

Quantized operator by operator each intermediate tensor loses accuracy (squares and roots most of all) and takes a pass
over memory. Measured on the emulator (release 2.7.0), 64 tokens of 256 channels: RMSNorm in 7 operators 29 dB in 16
bits and -18 dB in 8 in 84 us of sa8255p; as one operator 54 and 11 dB in 42 and 20 us. Erf alone is refused.
hexaquant forms the operators at import (ir/passes/fuse_*.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject, formed_by
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_hardswish import fuse_hardswish
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm


@dataclass(frozen=True)
class Pattern:
    """``rewrite`` makes ``operators`` of what ``words`` describe."""

    rule: str
    rewrite: Callable[[Graph], int]
    operators: tuple[str, ...]
    words: str

    def __call__(self, subject: Subject) -> Iterator[Finding]:
        """One info an occurrence, at the layer of the pattern's last operator."""
        for operator in self.operators:
            for node in formed_by(subject.cleaned, self.rewrite, operator):
                why = f"operator by operator each step is quantized; the target has {operator} as one"
                fix = f"{BY_IMPORT}: it is one {operator}"
                yield about(subject.cleaned, node, self.rule, "info", self.words, why, fix, fixable=True)


decomposed_gelu = Pattern("decomposed-gelu", fuse_gelu, ("Gelu",), "GELU is written out with Erf")
decomposed_layernorm = Pattern(
    "decomposed-layernorm",
    fuse_layernorm,
    ("LayerNormalization",),
    "LayerNorm is written out with mean and square root",
)
decomposed_rmsnorm = Pattern(
    "decomposed-rmsnorm", fuse_rmsnorm, ("RMSNormalization",), "RMSNorm is written out with square, mean and root"
)
decomposed_hardswish = Pattern(
    "decomposed-hardswish", fuse_hardswish, ("HardSwish", "HardSigmoid"), "HardSwish is written out with Add and Clip"
)
