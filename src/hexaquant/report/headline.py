"""The figures at the top of the report, and the one sentence that says how it went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hexaquant.core.errors import HexaquantError
from hexaquant.htp.soc import find_target
from hexaquant.report.schema import Estimate, Verification
from hexaquant.report.sources import Sources

SHARES = ("top1", "top5")
"""Metrics that are shares of the samples and shown in percent."""
PROVEN = ("exact", "inherited", "absorbed")


@dataclass(frozen=True)
class Score:
    """One backend's figure. ``delta``: against FP32, with its sign."""

    label: str
    value: str
    delta: str = ""


@dataclass(frozen=True)
class Tile:
    """A figure with what it is; ``missing``: the command that makes it, where there is none."""

    label: str
    value: str = ""
    unit: str = ""
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Headline:
    title: str
    subtitle: str
    sentence: str
    scores: tuple[Score, ...]
    scores_label: str
    tiles: tuple[Tile, ...]
    alarm: str = ""


def headline(sources: Sources) -> Headline:
    """Everything above the first section."""
    verify = sources.verify
    return Headline(
        title=_title(sources),
        subtitle=_subtitle(sources),
        sentence=_sentence(verify),
        scores=_scores(verify),
        scores_label=_scores_label(verify),
        tiles=(_agreement(sources), _size(sources), _latency(sources), _coverage(sources)),
        alarm="Calibrated on random noise: a trial of the conversion, its accuracy means nothing."
        if verify is not None and verify.random_data
        else "",
    )


def _title(sources: Sources) -> str:
    """The network's file as the recorded command names it ("net" of net.onnx); else the folder's name."""
    folder = sources.folder.resolve().name
    argv = sources.commands[0].argv if sources.commands else []
    if len(argv) < 2 or argv[1].startswith("-"):
        return folder
    return Path(argv[1]).stem or folder


def _subtitle(sources: Sources) -> str:
    manifest = sources.manifest
    if manifest is None:
        return "nothing is quantized here yet"
    try:
        target = str(find_target(manifest.target))
    except HexaquantError:
        target = manifest.target
    return " on ".join(text for text in (manifest.scheme, target) if text)


def _scores_label(verify: Verification | None) -> str:
    if verify is None or verify.metrics.get("target") is None:
        return "Accuracy"
    return f"{_metric_name(verify.metric)}, {verify.samples:,} samples"


def _metric_name(metric: str | None) -> str:
    return {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}.get(metric or "", metric or "metric")


def _scores(verify: Verification | None) -> tuple[Score, ...]:
    if verify is None or verify.metrics.get("target") is None:
        return ()
    base = verify.metrics.get("fp32")
    names = (("fp32", "FP32"), ("sim", "Simulation"), ("target", "Target"))
    return tuple(
        Score(label, score_text(verify.metric, value), "" if key == "fp32" else _delta(verify.metric, base, value))
        for key, label in names
        if (value := verify.metrics.get(key)) is not None
    )


def score_text(metric: str | None, value: float) -> str:
    """ "92.10 %" of a share, four significant digits of another metric."""
    return f"{100 * value:.2f} %" if metric in SHARES else f"{value:.4g}"


def _delta(metric: str | None, base: float | None, value: float) -> str:
    if base is None:
        return ""
    difference = value - base
    if difference == 0:
        return "no change"
    text = f"{100 * difference:+.2f} points" if metric in SHARES else f"{difference:+.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _sentence(verify: Verification | None) -> str:
    if verify is None:
        return "Not measured on the target yet: run hexaquant verify OUT --data DATA."
    flips = verify.flips
    if verify.metrics.get("target") is not None:
        worse = flips.get("worse", 0)
        better = flips.get("better", 0)
        if not worse and not better:
            return f"All {verify.samples:,} samples score on the target as they do in FP32."
        return f"Of {verify.samples:,} samples {worse:,} got worse and {better:,} better from FP32 to the target."
    agreements = [o.top1_agreement_sim_target for o in verify.outputs if o.top1_agreement_sim_target is not None]
    if agreements:
        return f"Without labels: simulation and target agree on {100 * min(agreements):.2f} % of the samples."
    return f"{verify.samples:,} samples without labels: see the error of the outputs."


def _agreement(sources: Sources) -> Tile:
    label = "Output against FP32"
    known = [] if sources.verify is None else sources.verify.outputs
    dead = [part.name for output in known for part in output.slices if part.all_zero_on_target]
    parts = [part for output in known for part in output.slices]
    figures = [each.fp32_vs_target_sqnr_db for each in known] + [each.fp32_vs_target_sqnr_db for each in parts]
    errors = [figure for figure in figures if figure is not None]
    if not errors:
        return Tile(label, missing="hexaquant verify OUT --data DATA")
    faithful = [o.sim_vs_target_sqnr_db for o in known if o.sim_vs_target_sqnr_db is not None]
    steps = [o.sim_vs_target_max_lsb for o in known if o.sim_vs_target_max_lsb is not None]
    told = [f"simulation to target {min(faithful):.1f} dB"] if faithful else []
    told += [f"'{name}' is all zero on the target" for name in dead]
    told += [f"at most {max(steps):g} steps apart"] if steps else []
    return Tile(label, f"{min(errors):.1f}", "dB SQNR", ", ".join(told))


def _size(sources: Sources) -> Tile:
    label = "Context binary"
    if sources.manifest is None:
        return Tile(label, missing="hexaquant deploy MODEL --data DATA -o OUT")
    name = f"model.{sources.manifest.target}.bin"
    binary = sources.manifest.files.get(name)
    if binary is None:
        return Tile(label, missing="hexaquant compile OUT")
    value, unit = size_text(binary.bytes).split(" ")
    before = sources.manifest.files.get(".state/fp32.onnx")
    ratio = "" if before is None else f"{before.bytes / binary.bytes:.1f} times smaller than FP32 ONNX"
    if before is not None and before.bytes < binary.bytes:
        ratio = f"FP32 ONNX: {size_text(before.bytes)}"
    return Tile(label, value, unit, ratio)


def size_text(count: int) -> str:
    """ "5.38 MiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if unit != "B" else f"{count} B"
        size /= 1024
    return f"{size:.3g} GiB"


def shown_estimate(sources: Sources) -> Estimate | None:
    """Of the first SoC that was asked for: at the O level that was compiled, else the fastest."""
    found = sources.estimates.estimates if sources.estimates else []
    mine = [estimate for estimate in found if estimate.soc == found[0].soc]
    target = sources.manifest.target if sources.manifest else ""
    compiled = sources.sections.get(f"compile {target}", {}).get("o_level")
    same = [estimate for estimate in mine if estimate.o_level == compiled]
    return min(same or mine, key=lambda estimate: estimate.us) if mine else None


def _latency(sources: Sources) -> Tile:
    label = "Latency, estimated"
    best = shown_estimate(sources)
    if best is None:
        return Tile(label, missing="hexaquant estimate OUT")
    value, unit = (f"{best.us / 1000:.2f}", "ms") if best.us >= 1000 else (f"{best.us}", "µs")
    return Tile(
        label, value, unit, f"{best.soc} at O{best.o_level}, {best.us_low} to {best.us_high} µs; no measurement"
    )


def _coverage(sources: Sources) -> Tile:
    label = "Encodings on the target"
    rows = sources.coverage
    if rows is None:
        return Tile(label, missing="hexaquant compile OUT")
    ours = [row for row in rows if row.tensor]
    proven = sum(row.verdict in PROVEN for row in ours)
    note = "every tensor has our encoding exactly" if proven == len(ours) else f"{len(ours) - proven} did not arrive"
    return Tile(label, f"{proven}", f"of {len(ours)}", note)
