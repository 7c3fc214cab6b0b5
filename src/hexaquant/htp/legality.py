"""What the target takes: for each form of operator (forms.py), scheme and architecture, as measured.

The rows lie in ``legality.json``, written by scripts/probe_legality.py from probes of the real backend: networks of one
operator, quantized by this package, lowered, compiled and run on the emulator. A form without a row was not measured:
of such operators only the backend knows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import onnx_ir as oir

from hexaquant.htp.forms import form_of
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES

Status = Literal["legal", "refused", "wrong", "unknown"]
FILE = "legality.json"


@dataclass(frozen=True)
class Verdict:
    """*legal*; *refused* by the library for ``reason``; *wrong*: it compiles, and computes something else; *unknown*:
    not measured."""

    status: Status
    reason: str = ""

    @property
    def is_bad(self) -> bool:
        return self.status in ("refused", "wrong")


LEGAL = Verdict("legal")
UNKNOWN = Verdict("unknown")


@dataclass(frozen=True)
class LegalityTable:
    """``rows``: form -> scheme -> architecture -> what is not legal. A form without exceptions is legal throughout.

    ``release``: of the onnxruntime-qnn wheel that was probed; ``bounds_db``: by scheme, the SQNR against the QDQ
    reference below which an output counts as wrong; ``rewritten``: operator -> what the import makes of it;
    ``errors_16``: operator -> largest error in steps of 16 bits (w8a16, v73) of what is legal of it.
    """

    release: str
    bounds_db: Mapping[str, float]
    rows: Mapping[str, Mapping[str, Mapping[int, Verdict]]]
    rewritten: Mapping[str, tuple[str, ...]]
    errors_16: Mapping[str, int] = field(default_factory=dict)

    def verdict(self, node: oir.Node, scheme: str, arch: int) -> Verdict:
        """Of an operator of a graph that is prepared for the target."""
        return self.of_form(form_of(node), scheme, arch)

    def of_form(self, form: str, scheme: str, arch: int) -> Verdict:
        row = self.rows.get(form)
        if row is None or (scheme not in SCHEMES and scheme not in row):
            return UNKNOWN
        return row.get(scheme, {}).get(arch, LEGAL)

    def schemes(self, form: str, arch: int, among: Iterator[str] | tuple[str, ...]) -> list[str]:
        """Those of ``among`` in which ``form`` is legal on ``arch``."""
        return [scheme for scheme in among if self.of_form(form, scheme, arch) == LEGAL]

    def architectures(self, form: str, scheme: str) -> list[int]:
        """Architectures on which ``form`` is legal in ``scheme``."""
        return [arch for arch in ARCHITECTURES if self.of_form(form, scheme, arch) == LEGAL]

    def operators(self) -> set[str]:
        """Every operator with a row, or with a rewriting that has rows."""
        return {form.partition(" ")[0] for form in self.rows} | set(self.rewritten)


def table_from_json(document: Mapping[str, Any]) -> LegalityTable:
    """The inverse of :func:`table_to_json`."""
    reasons = [Verdict(status, reason) for status, reason in document["reasons"]]
    rows = {
        form: {scheme: _by_architecture(entry, reasons) for scheme, entry in row.items()}
        for form, row in document["rows"].items()
    }
    rewritten = {op: tuple(forms) for op, forms in document["rewritten"].items()}
    return LegalityTable(document["release"], document["bounds_db"], rows, rewritten, document["errors_16"])


def _by_architecture(entry: Mapping[str, int], reasons: list[Verdict]) -> dict[int, Verdict]:
    """{"68 69": 3} -> {68: reasons[3], 69: reasons[3]}."""
    return {int(arch): reasons[index] for arches, index in entry.items() for arch in arches.split()}


def table_to_json(table: LegalityTable) -> dict[str, Any]:
    """``reasons``: [status, reason] once each; a row names, by scheme and architectures, the index of its reason."""
    reasons: dict[Verdict, int] = {}
    rows: dict[str, dict[str, dict[str, int]]] = {}
    for form, row in sorted(table.rows.items()):
        rows[form] = {}
        for scheme, entry in row.items():
            groups: dict[int, list[int]] = {}
            for arch, verdict in sorted(entry.items()):
                groups.setdefault(reasons.setdefault(verdict, len(reasons)), []).append(arch)
            if groups:
                rows[form][scheme] = {" ".join(map(str, arches)): index for index, arches in groups.items()}
    return {
        "release": table.release,
        "bounds_db": dict(table.bounds_db),
        "reasons": [[verdict.status, verdict.reason] for verdict in reasons],
        "errors_16": dict(sorted(table.errors_16.items())),
        "rewritten": {op: list(forms) for op, forms in sorted(table.rewritten.items())},
        "rows": rows,
    }


@functools.cache
def legality_table() -> LegalityTable:
    """The table of this package."""
    return table_from_json(json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8")))
