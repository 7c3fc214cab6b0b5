"""The JSON files of an artifact folder as the report reads them: what it shows, with defaults for what may be absent.

Unknown entries are ignored, so that a file of a newer hexaquant still shows.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Quality(_Document):
    """SQNR of the network's outputs in dB (None: identical) and the user's metric."""

    sqnr_db: float | None = None
    metric: float | None = None


class QuantizerEntry(_Document):
    """One quantizer alone on, and all but this one on."""

    name: str
    layer: str = ""
    origin: str | None = None
    kind: str = "activation"
    bits: int | str | None = None
    alone_on: Quality = Quality()
    alone_off: Quality = Quality()


class Histogram(_Document):
    """``counts`` of values in equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: list[int]


class OutlierChannel(_Document):
    channel: int
    ratio: float


class TensorEntry(_Document):
    """Statistics of one tensor over the samples."""

    name: str
    layer: str = ""
    origin: str | None = None
    kind: str = ""
    shape: list[int | str | None] = Field(default_factory=list)
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    encoding_min: float | None = None
    encoding_max: float | None = None
    clipped_fraction: float | None = None
    histogram: Histogram | None = None
    outlier_channels: list[OutlierChannel] = Field(default_factory=list)


class Analysis(_Document):
    """``analysis.json``."""

    samples: int = 0
    metric: str | None = None
    quantizers: list[QuantizerEntry] = Field(default_factory=list)
    tensors: list[TensorEntry] = Field(default_factory=list)


class ComparedTensor(_Document):
    """One tensor of FP32, simulation and target; None where two are identical or one has no such tensor."""

    name: str
    layer: str = ""
    origin: str | None = None
    op: str = ""
    bits: int | str | None = None
    sqnr_fp32_sim_db: float | None = None
    sqnr_sim_target_db: float | None = None
    sqnr_fp32_target_db: float | None = None
    max_steps: float | None = None


class DebugFinding(_Document):
    layer: str = ""
    tensor: str = ""
    origin: str | None = None
    text: str = ""
    fix: str | None = None


class Debug(_Document):
    """``debug.json``: tensors in network order."""

    mode: Literal["cumulative", "isolated"] = "cumulative"
    samples: int = 0
    tensors: list[ComparedTensor] = Field(default_factory=list)
    first_target_leaves_simulation: str | None = None
    first_simulation_leaves_fp32: str | None = None
    findings: list[DebugFinding] = Field(default_factory=list)


class CoverageRow(_Document):
    tensor: str = ""
    lowered: str = ""
    asked: str = ""
    has: str = ""
    verdict: str = ""


class Estimate(_Document):
    soc: str = ""
    graph: str = ""
    o_level: int = 0
    us: int = 0
    us_low: int = 0
    us_high: int = 0
    cycles: int = 0


class Estimates(_Document):
    """``info.json``."""

    note: str = ""
    estimates: list[Estimate] = Field(default_factory=list)


class SliceFigures(_Document):
    """A part of an output that a Concat joined, where the parts have unlike ranges."""

    name: str
    start: int = 0
    stop: int = 0
    peak: float = 0.0
    all_zero_on_target: bool = False
    fp32_vs_target_sqnr_db: float | None = None


class OutputFigures(_Document):
    name: str
    fp32_vs_sim_sqnr_db: float | None = None
    sim_vs_target_sqnr_db: float | None = None
    fp32_vs_target_sqnr_db: float | None = None
    sim_vs_target_max_lsb: float | None = None
    top1_agreement_sim_target: float | None = None
    slices: list[SliceFigures] = Field(default_factory=list)


class Verification(_Document):
    """``verify.json``."""

    samples: int = 0
    target: str = ""
    scheme: str = ""
    data: str = ""
    calibration_data: str = ""
    random_data: bool = False
    outputs: list[OutputFigures] = Field(default_factory=list)
    metric: str | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    flips: dict[str, int] = Field(default_factory=dict)


class Choice(_Document):
    """A point of the curve of ``hexaquant mixed``; ``layers``: how many have which scheme."""

    predicted_sqnr_db: float | None = None
    bops: float = 0
    size: float = 0
    converts: int = 0
    layers: dict[str, int] = Field(default_factory=dict)


class Mixed(_Document):
    """``mixed.json``: what ``hexaquant mixed --json`` prints."""

    target: str = ""
    scheme: str = ""
    choice: Choice
    w8a8: Choice
    pareto: list[Choice] = Field(default_factory=list)


class Attempt(_Document):
    name: str
    why: str = ""
    result: str = ""
    fp32: float | None = None
    sim: float | None = None
    target: float | None = None
    seconds: float = 0.0


class Auto(_Document):
    """What ``hexaquant auto`` recorded in the manifest."""

    met: bool = False
    max_drop: float = 0.0
    metric: str = ""
    chosen: str = ""
    attempts: list[Attempt] = Field(default_factory=list)


class LintFinding(_Document):
    """A finding, or the verdict on a layer; ``fields`` has whatever else the file says about it."""

    model_config = ConfigDict(frozen=True, extra="allow")
    layer: str = ""
    source: str = ""
    node: str = ""
    operator: str = ""
    verdict: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Lint(_Document):
    """``lint.json``."""

    target: str = ""
    scheme: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    scheme_problem: str = ""
    warnings: list[str] = Field(default_factory=list)
    layers: list[LintFinding] = Field(default_factory=list)
    findings: list[LintFinding] = Field(default_factory=list)
