"""Tables fit the terminal: nothing is wider than it, and numbers and short words are never broken."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console as RichConsole
from typer.main import get_command

from hexaquant.cli.app import app
from hexaquant.cli.console import table
from hexaquant.cli.estimate import estimates_table


def drawn(shown: Any, width: int) -> list[str]:
    """The lines of a table on a terminal of ``width`` columns."""
    stream = io.StringIO()
    RichConsole(file=stream, width=width, highlight=False).print(shown)
    return stream.getvalue().splitlines()


ESTIMATE = {
    "soc": "sa8255p (SoC model 52)", "graph": "model", "o_level": 3, "us": 270, "us_low": 237, "us_high": 309,
    "cycles": 404369, "input_fill": 5808128, "intermediate_spill": 0, "intermediate_fill": 0, "output_spill": 65536,
    "ops_without_cost": 0,
}  # fmt: skip
NAMES = ["tensor", "layer", "low", "high", "scale", "offset"]
ROWS = [
    [f"blocks.{i}.residual.convolution.weight", "module.py:41", -1.25 * i, 3.0, 0.0235294, -127 * i] for i in range(9)
]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_numbers_stay_whole(width: int) -> None:
    lines = drawn(table("title", NAMES, ROWS, right=(2, 3, 4, 5)), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "0.0235294" in text and "-1016" in text and "-10.0" in text


def test_what_all_rows_share_is_told_once() -> None:
    rows = [ESTIMATE | {"o_level": level, "us": 250 + level} for level in (1, 2, 3)]
    lines = drawn(estimates_table({"dlc": "model.dlc", "estimates": rows}), 80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.count("sa8255p") == 1 and "5,808,128" in text and all(str(250 + level) in text for level in (1, 2, 3))


def test_a_wide_terminal_gets_lines_and_a_tiny_one_records() -> None:
    shown = table("", NAMES, ROWS, right=(2, 3, 4, 5))
    assert any("┃" in line for line in drawn(shown, 200)) and not any("┃" in line for line in drawn(shown, 80))
    assert "  offset: -1016" in [line.rstrip() for line in drawn(shown, 22)]


def test_cells_of_several_lines_are_as_wide_as_their_widest() -> None:
    lines = drawn(table("", ["layer", "dB"], [["conv\n^ the target leaves here", "8.3"]], right=(1,)), 40)
    assert any("┃" in line for line in lines)


def test_an_empty_table_has_its_head() -> None:
    assert "layer" in "".join(drawn(table("", ["layer", "dB"], []), 40))


def commands() -> Iterator[tuple[str, Any]]:
    """All, those of groups as "llm deploy"."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        parts = getattr(command, "commands", None)
        yield from ((f"{name} {part}", own) for part, own in parts.items()) if parts else ((name, command),)


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_json(name: str, command: Any) -> None:
    assert any("--json" in parameter.opts for parameter in command.params), name
