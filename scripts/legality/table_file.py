"""From probe results to the table: one verdict for each form, scheme and architecture."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from hexaquant.htp import kernels
from hexaquant.htp.legality import LEGAL, UNKNOWN, LegalityTable, Verdict
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES

BOUNDS_DB = {name: 35.0 if scheme.act_bits == 16 and not scheme.is_float else 20.0 for name, scheme in SCHEMES.items()}
"""Least SQNR of the target's output against the QDQ reference, by scheme; below it the verdict is "wrong".

The kernels give more than 35 dB at 8 bits and 50 dB at 16 bits in nearly all probes; in float16 operators that round
(Floor, Ceil) reach 21 dB, since inputs next to a step fall on its other side. What lies below these bounds at 16 bits
is worse than 8 bits would be.
"""
UNPLANNED = Verdict("refused", "hexaquant has no rule to plan it by")
"""Of what the backend takes alone, but the planner does not (htp/kernels.py)."""
EQUAL = 0.9
"""Least share of equal values where the output is no real number."""

Row = Mapping[str, Any]


def make_table(rows: Iterable[Row], release: str) -> tuple[LegalityTable, list[str]]:
    """The table, and a sentence for each form whose networks disagree (it needs another word in htp/forms.py)."""
    found: dict[tuple[str, str, int], dict[str, Verdict]] = defaultdict(dict)
    rewritten: dict[str, tuple[str, ...]] = {}
    latest: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        latest[row["case"], row["scheme"], row["arch"]] = row
        forms = row.get("forms", [])
        if len(forms) != 1 or not _is_of(row["op"], forms[0]):
            if forms:
                rewritten.setdefault(row["op"], tuple(dict.fromkeys(form.partition(" ")[0] for form in forms)))
            if forms or row["verdict"] != "not imported":
                continue
            forms = [row["op"]]
        found[forms[0], row["scheme"], row["arch"]][row["case"]] = verdict_of(row)
    table = {form: _row(form, found) for form in sorted({form for form, _, _ in found}) if _is_complete(form, found)}
    own = {form.partition(" ")[0] for form in table}
    rewritten = {op: parts for op, parts in rewritten.items() if op not in own}
    return LegalityTable(release, BOUNDS_DB, table, rewritten, _errors_16(latest.values())), _conflicts(found)


def _errors_16(rows: Iterable[Row]) -> dict[str, int]:
    """Operator -> largest error in steps of 16 bits in w8a16 on v73, of what is legal and planned.

    Products by a computed weight of a layer are left out: networks have them hardly ever, and they are coarser.
    """
    found: dict[str, int] = {}
    for row in rows:
        is_meant = row["scheme"] == "w8a16" and row["arch"] == 73 and verdict_of(row) == LEGAL and "lsb" in row
        if is_meant and "computed weight" not in row["forms"][0] and kernels.rule_of(row["op"]) is not None:
            found[row["op"]] = max(found.get(row["op"], 0), round(row["lsb"]))
    return found


Found = Mapping[tuple[str, str, int], Mapping[str, Verdict]]
"""(form, scheme, architecture) -> verdicts by case."""


def _is_complete(form: str, found: Found) -> bool:
    """Whether ``form`` was probed in every scheme on every architecture; otherwise it gets no row yet."""
    return all((form, scheme, arch) in found for scheme in SCHEMES for arch in ARCHITECTURES)


def _row(form: str, found: Found) -> dict[str, dict[int, Verdict]]:
    """What is not legal of ``form``; where a further layout of weights was not probed it is unknown."""
    row: dict[str, dict[int, Verdict]] = {}
    for scheme in {*SCHEMES, *(scheme for other, scheme, _ in found if other == form)}:
        row[scheme] = {}
        for arch in ARCHITECTURES:
            verdicts = found.get((form, scheme, arch), {})
            worst = max(verdicts.values(), key=lambda v: (v.is_bad, v.status == "refused"), default=UNKNOWN)
            if worst == LEGAL and kernels.rule_of(form.split(" ")[0].rpartition(".")[2]) is None:
                worst = UNPLANNED
            if worst != LEGAL:
                row[scheme][arch] = worst
    return dict(sorted(row.items()))


def _conflicts(found: Found) -> list[str]:
    sentences = []
    for (form, scheme, arch), verdicts in found.items():
        if len({verdict.is_bad for verdict in verdicts.values()}) > 1:
            told = ", ".join(f"{case}: {verdict.status}" for case, verdict in verdicts.items())
            sentences.append(f"{form} in {scheme} on v{arch}: {told}")
    return sentences


def _is_of(op: str, form: str) -> bool:
    return form.partition(" ")[0].rpartition(".")[2] == op


def verdict_of(row: Row) -> Verdict:
    """The verdict of one probe."""
    if row["verdict"] == "legal":
        return _by_errors(row)
    if row["verdict"] == "crash":
        return Verdict("refused", row["reasons"][0])
    return Verdict("refused", short_reason(row["reasons"]))


def _by_errors(row: Row) -> Verdict:
    if row.get("sqnr", 200.0) < BOUNDS_DB[row["scheme"].partition(" ")[0]]:
        return Verdict("wrong", f"SQNR {row['sqnr']:.0f} dB against the QDQ model")
    if row.get("equal", 1.0) < EQUAL:
        return Verdict("wrong", "other values than the QDQ model's")
    return LEGAL


def short_reason(reasons: list[str]) -> str:
    """The most telling of the library's sentences, without names of one probe."""
    texts = [_clean(reason) for reason in reasons]
    telling = [t for t in texts if t and not any(noise in t for noise in _NOISE)]
    return (telling or [t for t in texts if t] or ["no reason given"])[-1][:160]


_NOISE = ("Failed to add node", "RouterX86", "graphMainFinalize")
_PATTERNS = (
    (r"^\w+: (Operators of type `\w+` are not supported).*", r"\1"),
    (r"^the encoding .* of tensor .* did not arrive.*", "its encoding does not arrive in the DLC"),
    (r"^QnnError: ", ""),
    (r"^operator '[^']*' \((\w+): ([^)]*)\): ", r"\1 (\2): "),
    (r"\[4294967295\] ", ""),
    (r"has incorrect Value (\d+), expected >= (\d+)\.?$", r"needs Hexagon v\2, this is v\1"),
    (r"\"?layer\w*\"? generated: ", "graph preparation: "),
    (r"'y\d+_float'|'y\d+'|'x\d+'", "a tensor"),
    (r"\s+", " "),
)


def _clean(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = re.sub(pattern, replacement, text)
    return text.strip()


def summary(rows: Iterable[Row]) -> Counter[str]:
    """Number of probes by verdict."""
    return Counter(verdict_of(row).status for row in rows)
