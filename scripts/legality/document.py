"""docs/legality.md, made from the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from hexaquant.htp import kernels
from hexaquant.htp.faults import FAULTS, RELEASE
from hexaquant.htp.legality import LEGAL, LegalityTable, Verdict
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES

HEAD = """# What the target takes

Which operator runs in which scheme on which Hexagon architecture, measured with onnxruntime-qnn {release} on
Qualcomm's emulator: {forms} forms of {operators} operators, each as a network of one operator that this package
quantized and lowered; most were compiled and ran as well (some on v75 to v81 were only lowered, where v73 had run
them). Made by `python scripts/probe_legality.py document`; do not edit it by hand.

`hexaquant lint MODEL --target T --scheme S` looks a network up in this table, before any calibration; `quantize` and
`deploy` refuse by it; `qairt-converter --dry_run` lists it. The table says what the library did with one operator in
our probes; it is no statement of Qualcomm's.

* An operator below runs in all six schemes (w8a8, w8a16, w4a8, w4a16, w16a16, fp16) on v68, v69, v73, v75, v79 and v81
  unless a row says otherwise. "rank 5" are tensors of five dimensions; more than five are refused always.
* v68 has no float16: whole networks and layers in fp16 are refused there whatever a row says, for the emulator computes
  them in float32, which no device with v68 does.
* *refused*: the library does not take it; its own reason follows. *wrong*: it compiles, but the output has an SQNR
  below {low:g} dB (16-bit activations: {high:g} dB) against the QDQ model on the CPU. *unknown*: not measured.
* Where the scheme's type has no kernel, hexaquant computes the operator in another type (htp/kernels.py) and says so in
  the plan; the verdict is of the result.
"""


def document(table: LegalityTable) -> str:
    """The page."""
    bounds = sorted(table.bounds_db.values())
    numbers = {"forms": len(table.rows), "operators": len(table.operators()), "low": bounds[0], "high": bounds[-1]}
    head = HEAD.format(release=table.release, **numbers)
    return (
        "\n".join([head, *_everywhere(table), *_exceptions(table), *_never(table), *_rewritten(table), *_errors(table)])
        + "\n"
        + "\n".join(_faults())
        + "\n"
    )


def _is_legal(row: Mapping[str, Mapping[int, Verdict]]) -> bool:
    return not any(row.values())


def _is_refused(row: Mapping[str, Mapping[int, Verdict]]) -> bool:
    return all(len(row.get(s, {})) == len(ARCHITECTURES) and all(v.is_bad for v in row[s].values()) for s in SCHEMES)


def _everywhere(table: LegalityTable) -> Iterator[str]:
    yield "## Runs in every scheme on every architecture\n"
    by_op: dict[str, list[str]] = defaultdict(list)
    for form, row in table.rows.items():
        if _is_legal(row):
            op, _, rest = form.partition(" ")
            by_op[op].append(rest or "plain")
    for op, forms in by_op.items():
        yield f"* **{op}**" + ("" if forms == ["plain"] else f": {', '.join(forms)}")
    yield ""


def _exceptions(table: LegalityTable) -> Iterator[str]:
    yield "## Runs with exceptions\n"
    yield "| operator | where not | verdict | the library's reason |"
    yield "|---|---|---|---|"
    for form, row in table.rows.items():
        if not _is_legal(row) and not _is_refused(row):
            for where, verdict in _places(row):
                yield f"| {form} | {where} | {verdict.status} | {_cell(verdict.reason)} |"
    yield ""


def _places(row: Mapping[str, Mapping[int, Verdict]]) -> Iterator[tuple[str, Verdict]]:
    """("w16a16 on v68, v69", verdict): places with one reason together."""
    groups: dict[Verdict, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for scheme, entry in row.items():
        for arch, verdict in entry.items():
            groups[verdict][scheme].append(f"v{arch}")
    for verdict, schemes in groups.items():
        alike: dict[str, list[str]] = defaultdict(list)
        for scheme, arches in schemes.items():
            alike["" if len(arches) == len(ARCHITECTURES) else " on " + ", ".join(arches)].append(scheme)
        places = [("every scheme" if set(s) >= set(SCHEMES) else ", ".join(s)) + where for where, s in alike.items()]
        yield "; ".join(places), verdict


def _never(table: LegalityTable) -> Iterator[str]:
    yield "## Refused in every scheme on every architecture\n"
    yield "| operator | the library's reason | what to do |"
    yield "|---|---|---|"
    for form, row in table.rows.items():
        if _is_refused(row):
            reasons = dict.fromkeys(v.reason for entry in row.values() for v in entry.values() if v != LEGAL)
            yield f"| {form} | {_cell('; '.join(list(reasons)[:2]))} | {remedy(form)} |"
    yield ""


def remedy(form: str) -> str:
    """What to do about a form that is refused everywhere."""
    if " rank 5" in form:
        return "reshape to four dimensions"
    return kernels.REFUSED.get(form.partition(" ")[0], "replace it, or move it out of the network")


def _rewritten(table: LegalityTable) -> Iterator[str]:
    yield "## Rewritten by the import\n"
    yield "These become other operators, whose rows count.\n"
    for op, parts in table.rewritten.items():
        yield f"* **{op}**: {', '.join(parts)}"


def _errors(table: LegalityTable) -> Iterator[str]:
    yield "\n## How exact 16 bits are\n"
    yield "Largest error in steps of 16 bits of an operator alone (w8a16, v73, some hundred elements) against the QDQ"
    yield "model on the CPU; those exact to one step are left out. In float16 each is as exact as the type.\n"
    yield "| operator | steps |"
    yield "|---|---|"
    for op, steps in sorted(table.errors_16.items(), key=lambda item: (-item[1], item[0])):
        if steps > 1:
            yield f"| {op} | {steps} |"


def _faults() -> Iterator[str]:
    yield "\n## Faults\n"
    yield "Forms of several operators, or of one and its encodings, that the target refuses or computes wrongly"
    yield f"without a word (release {RELEASE}; `htp/faults.py`). What has an equal form is written in it at import or"
    yield "at lowering; the rest is refused, by `lint` and `quantize` before any calibration.\n"
    yield "| fault | operators | what the target does | measured | written as, or what to do |"
    yield "|---|---|---|---|---|"
    for fault in FAULTS:
        operators = ", ".join(fault.operators) or "all"
        cells = (fault.name, operators, fault.effect, fault.measured, fault.mended_as or f"refused: {fault.remedy}")
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
