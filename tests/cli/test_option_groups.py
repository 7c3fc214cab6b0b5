"""A dataclass of options is options on the command line, and itself or its value in the function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.main import get_command
from typer.testing import CliRunner

from hexaquant.cli.option_groups import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Columns.")] = 3
    height: Annotated[int | None, typer.Option("--rows", help="Rows.")] = None


@dataclass(frozen=True)
class Area(Size):
    def value(self) -> int:
        return self.width * (self.height or self.width)


@grouped
def show(name: str, size: Size = Size(), last: bool = False) -> None:
    print(name, size, last)


@grouped
def area(area: Area = Area()) -> None:
    print(area)


def called(command: object, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return CliRunner().invoke(app, arguments).output.strip()


def test_fields_are_options_in_the_parameters_place() -> None:
    app = typer.Typer()
    app.command()(show)
    assert [p.name for p in get_command(app).params][:4] == ["name", "width", "height", "last"]
    assert called(show, "a") == "a Size(width=3, height=None) False"
    assert called(show, "a", "--width", "2", "--rows", "5", "--last") == "a Size(width=2, height=5) True"
    assert "--width" in called(show, "a", "--width", "0")


def test_a_group_with_a_value_gives_the_value() -> None:
    assert called(area, "--rows", "4") == "12"


def test_a_direct_call_has_the_defaults(capsys: object) -> None:
    show(name="b", width=7)
    assert capsys.readouterr().out == "b Size(width=7, height=None) False\n"  # type: ignore[attr-defined]
