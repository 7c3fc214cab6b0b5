"""MkDocs hooks: pages that are made from the code at every build, so that they cannot drift from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs_site.commands import command_page, commands
from docs_site.interface import interface_pages, recipe_page
from docs_site.programs import flag_table, program_page, programs

COMMANDS, PROGRAMS, PYTHON = "reference/commands", "reference/programs", "reference/python"
_FLAGS = re.compile(r"<!-- flags: (\S+) -->")


def generated_pages() -> dict[str, str]:
    """Path under docs/ -> Markdown, in the order of the navigation."""
    pages = {f"{COMMANDS}/{name}.md": command_page(name, command) for name, command in commands().items()}
    pages |= {f"{PROGRAMS}/{name}.md": program_page(program) for name, program in programs().items()}
    pages |= {f"{PYTHON}/{name}": text for name, text in interface_pages().items()}
    return pages | {f"{PYTHON}/recipe-steps.md": recipe_page()}


def on_config(config: Any) -> Any:
    """Put made pages in place of COMMANDS, PROGRAMS and PYTHON in the navigation, unnamed guides in place of MORE."""
    pages = list(generated_pages())
    folders = {"COMMANDS": COMMANDS, "PROGRAMS": PROGRAMS, "PYTHON": PYTHON}
    filled = {word: [page for page in pages if page.startswith(folder + "/")] for word, folder in folders.items()}
    named = set(_named(config.nav))
    guides = sorted(path.name for path in Path(config.docs_dir).glob("*.md"))
    config.nav = _fill(config.nav, filled | {"MORE": [guide for guide in guides if guide not in named]})
    return config


def _named(entry: Any) -> Iterator[str]:
    """Every page that the navigation names."""
    if isinstance(entry, str):
        yield entry
    for below in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from _named(below)


def _fill(entry: Any, filled: dict[str, list[str]]) -> Any:
    """``entry`` with the lists in place of their words; in a list they take the place of the word alone."""
    if isinstance(entry, str):
        return filled.get(entry, entry)
    if isinstance(entry, dict):
        return {title: _fill(below, filled) for title, below in entry.items()}
    spread = [_fill(one, filled) for one in entry]
    return [page for one in spread for page in (one if isinstance(one, list) else [one])]


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Put the table of a program's flags where a page has ``<!-- flags: NAME -->``."""
    return _FLAGS.sub(lambda found: flag_table(programs()[found[1]]), markdown)
