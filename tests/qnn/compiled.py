"""What the shared fixture of these tests holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hexaquant.qnn.compile import CompileReport
from hexaquant.qnn.lower import LowerReport

SOC, ARCH = 57, 75
"""SM8650, Hexagon v75."""


@dataclass(frozen=True)
class Compiled:
    onnx: Path
    lowered: LowerReport
    compiled: CompileReport
