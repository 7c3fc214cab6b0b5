"""The table says what the backend says: rows probed again, and random networks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hexaquant.htp.forms import form_of
from hexaquant.htp.legality import legality_table
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES
from legality.case import Case
from legality.prober import Prober, Variant, import_case
from legality.random_graphs import compare
from legality.table_file import verdict_of
from probe_legality import all_cases, probe_case

TABLE = legality_table()
CASES = {case.name: case for case in all_cases()}
ROWS = [
    (name, scheme, arch)
    for name in random.Random(3).sample(sorted(CASES), 24)
    for scheme, arch in [(random.Random(name).choice(list(SCHEMES)), random.Random(name).choice(list(ARCHITECTURES)))]
]


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    with Prober() as started:
        yield started


def test_rows_probed_again_have_the_verdict_of_the_table(prober: Prober, tmp_path: Path) -> None:
    measured = 0
    for name, scheme, arch in ROWS:
        case: Case = CASES[name]
        (row,) = probe_case(case, [(Variant(scheme), arch)], prober, tmp_path)
        told = TABLE.of_form(row.get("forms", [""])[0], scheme, arch)
        if told.status != "unknown" and len(row["forms"]) == 1:
            assert told.is_bad == verdict_of(row).is_bad, (name, scheme, arch, row)
            measured += 1
    assert measured >= 8


def test_sixteen_bit_weights_need_v73(prober: Prober, tmp_path: Path) -> None:
    case = next(case for case in CASES.values() if form_of(import_case(case.model()).nodes[0]) == "Conv 2d")
    rows = probe_case(case, [(Variant("w16a16"), 69), (Variant("w16a16"), 73)], prober, tmp_path)
    assert [row["verdict"] for row in rows] == ["refused", "legal"]


def test_table_and_backend_agree_on_random_networks(prober: Prober, tmp_path: Path) -> None:
    results = [compare(seed, prober, tmp_path) for seed in range(12)]
    assert [str(result) for result in results if not result.is_decided] == []
    assert [str(result) for result in results if not result.agrees] == []
