"""Prints the lowest versions of our dependencies that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lower_bounds() -> list[str]:
    """ "numpy==1.26" for "numpy>=1.26"; pins stay as they are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [re.match(r"([\w.-]+)(?:\[[^]]*\])?[>=]=([\w.]+)", requirement) for requirement in project["dependencies"]]
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
