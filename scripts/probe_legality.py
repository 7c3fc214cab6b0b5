"""Measures which operator the target takes in which type on which architecture, on the real backend.

    python scripts/probe_legality.py probe RESULTS.jsonl [--arch 75] [--only Conv] [--missing 2]
    python scripts/probe_legality.py table RESULTS.jsonl ...
    python scripts/probe_legality.py compare [--count 200] [--seed 0]
    python scripts/probe_legality.py document

probe: every case (legality/*.py) in every scheme on every architecture, one line for each in RESULTS.jsonl. What is
there already is not probed again, so an interrupted run goes on. About 45 ms a probe; 35,000 probes.
table: makes src/hexaquant/htp/legality.json of them. compare: random networks, the table against the backend.
document: makes docs/legality.md of the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.core.errors import HexaquantError
from hexaquant.htp.forms import form_of
from hexaquant.htp.legality import FILE, legality_table, table_to_json
from hexaquant.htp.soc import ARCHITECTURES
from hexaquant.qnn.libraries import find_libraries
from legality import document, elementwise, layers, movement, random_graphs, table_file
from legality.case import Case
from legality.prober import Prober, Variant, import_case, quantize, variants

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "src/hexaquant/htp" / FILE
PAGE = ROOT / "docs/legality.md"
BASE = 73
"""The architecture after which the others behave alike."""
ERRORS = ("sqnr", "lsb", "equal", "lower_only")


def all_cases() -> Iterator[Case]:
    """Every case once."""
    seen: set[str] = set()
    for module in (layers, movement, elementwise):
        for case in module.cases():
            if case.name not in seen:
                seen.add(case.name)
                yield case


def missing_cases(each: int) -> list[Case]:
    """The first ``each`` of every form without a row in the table."""
    table, count, found = legality_table(), Counter[str](), []
    for case in all_cases():
        forms = _forms(case)
        if len(forms) == 1 and forms[0] not in table.rows and count[forms[0]] < each:
            count[forms[0]] += 1
            found.append(case)
    return found


def ordered_cases(only: list[str]) -> list[Case]:
    """Those of the operators ``only`` (or all); the first of each form come first, then the second ones."""
    count: Counter[str] = Counter()
    turns = {}
    cases = [case for case in all_cases() if not only or case.op_type in only]
    for case in cases:
        form = first_form(case)
        count[form] += 1
        turns[case.name] = (count[form], " rank 5" in form)
    return sorted(cases, key=lambda case: turns[case.name])


def first_form(case: Case) -> str:
    """The form of the case's operator as it stands in the file, before any rewriting; for the order only."""
    return form_of(oir.from_proto(case.draft()).graph[0])


def probe(results: Path, arches: list[int], cases: list[Case], part: int, parts: int) -> None:
    rows = read_lines(results)
    done = {(row["case"], row["scheme"], row["arch"]) for row in rows}
    base = {(row["case"], row["scheme"]): row for row in rows if row["arch"] == BASE}
    with results.open("a") as file, Prober() as prober, tempfile.TemporaryDirectory() as folder:
        for case in cases[part::parts]:
            wanted = [(v, a) for v in variants(case.op_type) for a in arches if (case.name, v.name, a) not in done]
            known = {scheme: row for (name, scheme), row in base.items() if name == case.name}
            for row in probe_case(case, wanted, prober, Path(folder), known) if wanted else ():
                file.write(json.dumps({"case": case.name, "op": case.op_type, **row}) + "\n")
                file.flush()
            for path in Path(folder).iterdir():
                path.unlink()


def probe_case(
    case: Case, wanted: list[tuple[Variant, int]], prober: Prober, folder: Path, known: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """One row for each (variant, architecture) in ``wanted``. Networks that come out equal are probed once.

    ``known``: by scheme, the row of architecture BASE.
    """
    try:
        graph = import_case(case.model())
    except Exception as error:
        for variant, arch in wanted:
            yield {"scheme": variant.name, "arch": arch, "verdict": "not imported", "reasons": [_text(error)]}
        return
    answers: dict[tuple[str, int], dict[str, Any]] = {}
    forms = [form_of(node) for node in graph.nodes]
    for variant in dict.fromkeys(variant for variant, _ in wanted):
        arches = [arch for other, arch in wanted if other == variant]
        try:
            network = quantize(graph, case.feeds(), variant, folder)
        except Exception as error:
            for arch in arches:
                row = {"verdict": "not quantized", "reasons": [_text(error)]}
                yield {"scheme": variant.name, "arch": arch, "forms": forms, **row}
            continue
        if known and variant.name in known:
            answers.setdefault((network.digest, BASE), known[variant.name])
        for arch in sorted(arches):
            row = _ask(network.digest, network.request(arch), answers, prober)
            own = {key: row[key] for key in ("verdict", "by", "stage", "reasons", *ERRORS) if key in row}
            yield {"scheme": variant.name, "arch": arch, "forms": forms, **own}


def _ask(digest: str, request: dict[str, Any], answers: dict[tuple[str, int], dict[str, Any]], prober: Prober) -> Any:
    """The answer, from ``answers`` where they have it.

    Compiling and running adds nothing on an architecture after BASE where BASE computed right or refused to lower: no
    probe ever differed. The library's reason is asked for once a network before BASE and once from it on: within these
    only numbers in it differ.
    """
    key = (digest, request["arch"])
    if key in answers:
        return answers[key]
    before = answers.get((digest, BASE))
    alike = [a for (d, other), a in answers.items() if d == digest and (other < BASE) == (request["arch"] < BASE)]
    told = next((a["reasons"] for a in alike if a.get("by") == "target"), None)
    lower_only = request["arch"] > BASE and before is not None and _needs_lowering_only(before)
    answer = prober.ask({**request, "why": told is None, "lower_only": lower_only})
    answers[key] = {**answer, "reasons": told} if told and answer.get("by") == "target" else answer
    return answers[key]


def _needs_lowering_only(row: dict[str, Any]) -> bool:
    if row["verdict"] == "legal":
        return row.get("sqnr", 200.0) >= 40.0 and row.get("equal", 1.0) == 1.0
    return row["verdict"] == "refused" and row.get("stage") == "lowering"


def _text(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, HexaquantError) else f"{type(error).__name__}: {text}"


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def make_table(results: list[Path]) -> None:
    """Forms are derived anew, so that a change in htp/forms.py needs no new probes."""
    forms = {case.name: _forms(case) for case in all_cases()}
    rows = [row for path in results for row in read_lines(path) if row["case"] in forms]
    rows = [{**row, "forms": forms[row["case"]]} for row in rows]
    table, conflicts = table_file.make_table(rows, find_libraries().release)
    TABLE.write_text(_compact(table_to_json(table)))
    print(f"{len(rows)} probes: {dict(table_file.summary(rows))}; {len(table.rows)} forms in {TABLE.name}")
    for sentence in conflicts:
        print("disagreement within", sentence)


def _forms(case: Case) -> list[str]:
    try:
        return [form_of(node) for node in import_case(case.model()).nodes]
    except Exception:
        return []


def _compact(tables: dict[str, Any]) -> str:
    """JSON with one line a row, so that a new measurement is a readable difference."""
    rows = ",\n".join(f"  {json.dumps(form)}: {json.dumps(row)}" for form, row in tables["rows"].items())
    reasons = ",\n".join(f"  {json.dumps(reason)}" for reason in tables["reasons"])
    rest = {key: value for key, value in tables.items() if key not in ("rows", "reasons")}
    head = json.dumps(rest)[:-1]
    return f'{head},\n "reasons": [\n{reasons}\n ],\n "rows": {{\n{rows}\n }}}}\n'


def compare(count: int, seed: int) -> int:
    """``count`` random networks of which the table has a verdict; prints disagreements and returns how many there were.

    Networks are drawn with ``seed``, ``seed`` + 1, ...; those with a form that was not measured are counted apart.
    """
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    with Prober() as prober, tempfile.TemporaryDirectory() as folder:
        while counts["networks"] < count:
            result = random_graphs.compare(seed + counts.total(), prober, Path(folder))
            counts["networks" if result.is_decided else "undecided"] += 1
            if result.is_decided:
                kinds[_outcome(result)] += 1
                if not result.agrees:
                    print(result, flush=True)
    print(dict(counts), dict(kinds))
    return counts["networks"] - kinds["both take it"] - kinds["both refuse it"]


def _outcome(result: random_graphs.Comparison) -> str:
    if result.agrees:
        return "both take it" if result.taken_by_backend else "both refuse it"
    return "only the table refuses it" if result.refused_by_table else "only the backend refuses it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("probe")
    run.add_argument("results", type=Path)
    run.add_argument("--arch", type=int, action="append", choices=list(ARCHITECTURES))
    run.add_argument("--only", action="append", default=[])
    run.add_argument("--missing", type=int, default=0, help="Only this many cases of each form without a row.")
    run.add_argument("--part", type=int, default=0, help="This process does every PARTSth case from PART on.")
    run.add_argument("--parts", type=int, default=1)
    commands.add_parser("table").add_argument("results", type=Path, nargs="+")
    random = commands.add_parser("compare")
    random.add_argument("--count", type=int, default=200)
    random.add_argument("--seed", type=int, default=0)
    commands.add_parser("document")
    options = parser.parse_args()
    if options.command == "probe":
        cases = missing_cases(options.missing) if options.missing else ordered_cases(options.only)
        probe(options.results, options.arch or list(ARCHITECTURES), cases, options.part, options.parts)
    elif options.command == "table":
        make_table(options.results)
    elif options.command == "compare":
        sys.exit(min(compare(options.count, options.seed), 1))
    else:
        PAGE.write_text(document.document(legality_table()))


if __name__ == "__main__":
    main()
