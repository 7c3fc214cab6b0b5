"""What the accuracy debugger says about a tensor: findings in words, each with the fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hexaquant.analysis.debugger import TensorErrors
from hexaquant.analysis.places import Place
from hexaquant.analysis.statistics import TensorStatistics
from hexaquant.core.encoding import Encoding
from hexaquant.htp.legality import legality_table
from hexaquant.sim.plan import TensorPlan

CLIPS = 0.002
UNUSED = 0.35
"""A part of the values beyond the range, and of the grid without values, that is worth a word."""
COARSE = 8
"""Error of an operator's 16-bit kernel, in steps, from which float16 is the better type."""
AGAIN = "calibrate this tensor again (quantize with representative data, or give its range in an overrides file)"


@dataclass(frozen=True)
class DebugFinding:
    """``layer``: node; ``tensor``: whose encoding or values it is about."""

    layer: str
    tensor: str
    origin: str | None
    text: str
    fix: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def finding(place: Place, tensor: str, text: str, fix: str) -> DebugFinding:
    return DebugFinding(place.layer, tensor, place.origin, text, fix)


def explain_encoding(seen: TensorStatistics, encoding: Encoding, excess_db: float) -> tuple[str, str]:
    """(what is wrong with a tensor's encoding, what to do)."""
    what = f"the {seen.kind} '{seen.name}'"
    cost = f"{excess_db:.0f} dB more noise than {encoding.grid.bits} bits need here"
    if encoding.grid.is_float or seen.encoding_min is None or seen.encoding_max is None:
        return f"{what} loses {cost}", AGAIN
    low = seen.encoding_min
    high = seen.encoding_max
    values = f"{seen.min:.4g} to {seen.max:.4g}"
    ends = f"{low:.4g} to {high:.4g}"
    used = (min(seen.max, high) - max(min(seen.min, 0.0), low)) / max(high - low, 1e-30)
    if seen.clipped_fraction > CLIPS and used < 1 - UNUSED:
        why = (
            f"its range {ends} is shifted: values reach {values}, {_percent(seen.clipped_fraction)} of them are clipped"
        )
    elif seen.clipped_fraction > CLIPS or used > 1 - UNUSED:
        why = f"its range {ends} is too narrow: values reach {values}, {_percent(seen.clipped_fraction)} are clipped"
    else:
        why = f"its range {ends} is too wide: values reach only {values}, {_percent(used)} of the grid"
    fix = AGAIN if seen.kind == "activation" else "fit the weight's scale again: quantize the model anew"
    return f"{what} makes {cost}: {why}", fix


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %" if part < 0.1 else f"{100 * part:.0f} %"


def explain_mismatch(plan: TensorPlan, encoding: Encoding, wanted: Encoding) -> tuple[str, str]:
    """(an encoding that its operator does not allow, what to do)."""
    span, allowed = (f"{float(e.min):.4g} to {float(e.max):.4g}" for e in (encoding, wanted))
    if plan.clamp is not None:
        text = (
            f"the encoding of '{plan.name}' reaches {span}, beyond the activation function merged into it ({allowed})"
        )
        return text, f"keep the range within {allowed}: otherwise the target cannot merge the two operators"
    if plan.how == "shared":
        text = f"the encoding of '{plan.name}' ({span}) differs from that of '{plan.source}' ({allowed})"
        return text, "give both the same: the operator between them only moves data"
    text = f"the encoding of '{plan.name}' is {span}, but the operator's output lies in {allowed}"
    return text, f"set it to {allowed}, as the target's kernel requires"


def known_error(place: Place, bits: int | str) -> int:
    """Largest error of the operator's kernel in steps, as measured (htp/legality.json); 1: as exact as its type."""
    return legality_table().errors_16.get(place.op, 1) if bits == 16 else 1


def explain_target(place: Place, errors: TensorErrors, overflowing: Sequence[int]) -> DebugFinding:
    """The target computes a layer otherwise than the simulation. ``overflowing``: channels whose int32 bias is full."""
    name = errors.name
    most = errors.own_most
    rms = errors.own_rms
    known = known_error(place, errors.bits)
    if known >= COARSE:
        text = f"{place.op} at 16 bits on this target is accurate to about {known} LSB: here {most:.0f}, rms {rms:.1f}"
        return finding(place, name, text, f"keep the layer in float16 (overrides: '{place.layer}': fp16)")
    text = f"{place.op} computes '{name}' on the target up to {most:.0f} LSB beside the simulation (rms {rms:.1f})"
    if errors.own_in:
        text += f", all of it in channel{'s' * (len(errors.own_in) > 1)} {', '.join(map(str, errors.own_in[:6]))}"
    if overflowing:
        text += ", whose bias is at the end of int32: with the products added the target's accumulator overflows"
        return finding(place, name, text, "prune the dead channel, or give its weight a larger scale")
    fix = "keep the layer in float16, or deploy with --correct-on-target, which takes back what it is off on average"
    return finding(place, name, text, fix)


def explain_outliers(place: Place, seen: TensorStatistics) -> DebugFinding:
    """A few channels take the range from the others."""
    worst = seen.outlier_channels[0]
    count = len(seen.outlier_channels)
    more = "" if count == 1 else f" (and {count - 1} more)"
    far = f"reaches {worst.ratio:.0f} times as far as the median channel{more}"
    text = f"channel {worst.channel} of '{seen.name}' {far}, and all share one scale"
    fix = "recipe step equalize_layers (or smooth_activations), or 16 bits for this tensor"
    return finding(place, seen.name, text, fix)


def explain_dead(place: Place, seen: TensorStatistics, encoding: Encoding) -> DebugFinding:
    """A tensor that is zero everywhere on these samples, or that its encoding makes zero."""
    if seen.max == seen.min:
        text = f"'{seen.name}' is {seen.max:.4g} everywhere on these samples: nothing that follows depends on the input"
        return finding(place, seen.name, text, "check the network and the data (a dead ReLU, wrong preprocessing)")
    text = f"all values of '{seen.name}' ({seen.min:.4g} to {seen.max:.4g}) round to one step of its grid"
    return finding(place, seen.name, text, AGAIN)


def explain_lost(place: Place, source: str, part: float) -> DebugFinding:
    """A steep operator reads values that its input's grid does not tell from 0."""
    text = (
        f"{_percent(part)} of the values that {place.op} reads ('{source}') are within one step of 0: they become one"
    )
    return finding(place, source, text, f"16 bits or float16 for '{source}' and what it is made of (--overrides)")
