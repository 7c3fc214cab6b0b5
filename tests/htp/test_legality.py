"""The table of measured verdicts: complete, current, and read as it was written."""

from __future__ import annotations

import json

from hexaquant.htp.kernels import OPS, rule_of
from hexaquant.htp.legality import LEGAL, UNKNOWN, LegalityTable, Verdict, legality_table
from hexaquant.htp.legality import table_from_json as read
from hexaquant.htp.legality import table_to_json as write
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES
from hexaquant.qnn.libraries import KNOWN_RELEASES

TABLE = legality_table()


def test_every_operator_that_is_lowered_has_rows() -> None:
    constants = {"Shape", "Size"}  # by the time of lowering
    assert set(OPS) - TABLE.operators() <= constants


def test_no_operator_without_a_rule_is_said_to_run() -> None:
    verdicts = {form: TABLE.of_form(form, "w8a8", 75) for form in TABLE.rows}
    assert [form for form, v in verdicts.items() if v == LEGAL and rule_of(_operator(form)) is None] == []
    assert verdicts["NonZero"].status == "refused"


def _operator(form: str) -> str:
    return form.partition(" ")[0].rpartition(".")[2]


def test_rows_cover_every_scheme_on_every_architecture() -> None:
    gaps = [
        (form, scheme, arch)
        for form in TABLE.rows
        for scheme in SCHEMES
        for arch in ARCHITECTURES
        if TABLE.of_form(form, scheme, arch) == UNKNOWN
    ]
    assert gaps == []


def test_the_table_was_measured_with_the_release_that_is_installed() -> None:
    assert {TABLE.release} == set(KNOWN_RELEASES)


def test_a_table_reads_back_as_it_was_written() -> None:
    assert read(json.loads(json.dumps(write(TABLE)))) == TABLE


def test_what_a_row_does_not_name_is_legal_and_what_has_no_row_is_unknown() -> None:
    bad = Verdict("refused", "needs Hexagon v73, this is v68")
    table = LegalityTable("2.7.0", {"w8a8": 20.0}, {"Conv 2d": {"w16a16": {68: bad, 69: bad}}}, {})
    assert table.of_form("Conv 2d", "w16a16", 68) == bad
    assert table.of_form("Conv 2d", "w16a16", 73) == table.of_form("Conv 2d", "w8a8", 68) == LEGAL
    assert table.of_form("Conv 3d", "w8a8", 73) == table.of_form("Conv 2d", "w2a8", 73) == UNKNOWN
    assert table.architectures("Conv 2d", "w16a16") == [73, 75, 79, 81]
    assert table.schemes("Conv 2d", 68, ("w16a16", "w8a16")) == ["w8a16"]


def test_measured_facts_that_users_know() -> None:
    assert TABLE.of_form("Conv 2d", "w16a16", 69).status == "refused"
    assert TABLE.of_form("Conv 2d", "w16a16", 73) == LEGAL
    assert TABLE.of_form("Conv 2d", "w4a8 per tensor", 75).status == "refused"
    assert TABLE.of_form("Conv 2d", "w4a8", 75) == LEGAL
    assert all(TABLE.of_form("Erf", scheme, arch).is_bad for scheme in SCHEMES for arch in ARCHITECTURES)
