"""What an artifact folder holds for the report. Files that are absent or damaged leave a gap, never an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.folder.manifest import NAME, Command, Manifest, read_manifest
from hexaquant.report import schema as s

FILES: dict[str, str] = {
    "verify": "verify.json",
    "coverage": "coverage.json",
    "estimates": "info.json",
    "analysis": "analysis.json",
    "debug": "debug.json",
    "lint": "lint.json",
    "mixed": "mixed.json",
}
"""Name in :class:`Sources` -> file of the folder."""

D = TypeVar("D", bound=BaseModel)


@dataclass(frozen=True)
class Sources:
    """``problems``: one sentence for each file that is there and cannot be used."""

    folder: Path
    manifest: Manifest | None = None
    verify: s.Verification | None = None
    coverage: tuple[s.CoverageRow, ...] | None = None
    estimates: s.Estimates | None = None
    analysis: s.Analysis | None = None
    debug: s.Debug | None = None
    lint: s.Lint | None = None
    mixed: s.Mixed | None = None
    auto: s.Auto | None = None
    problems: tuple[str, ...] = ()

    @property
    def sections(self) -> dict[str, Any]:
        """The sections of the manifest."""
        return self.manifest.sections if self.manifest is not None else {}

    @property
    def commands(self) -> tuple[Command, ...]:
        """The recorded command lines; none where they are damaged."""
        try:
            return () if self.manifest is None else self.manifest.commands
        except InputError:
            return ()


@dataclass
class _Reader:
    folder: Path
    problems: list[str] = field(default_factory=list)

    def document(self, name: str, kind: type[D]) -> D | None:
        """``folder``/``name`` as ``kind``, None where it is absent or of another form."""
        return self.parsed(name, kind.model_validate)

    def parsed(self, name: str, parse: Callable[[Any], D]) -> D | None:
        path = self.folder / name
        try:
            return parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            self.problems.append(f"{name} cannot be read ({error}); make it again")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "its top"
            self.problems.append(f"{name} is not of the expected form at {where} ({first['msg']}); make it again")
        return None

    def manifest(self) -> Manifest | None:
        if not (self.folder / NAME).is_file():
            return None
        try:
            return read_manifest(self.folder)
        except HexaquantError as error:
            self.problems.append(str(error))
            return None


class _Coverage(BaseModel):
    rows: list[s.CoverageRow]


def read_sources(folder: Path) -> Sources:
    """Everything in ``folder`` that the report can show."""
    reader = _Reader(folder)
    manifest = reader.manifest()
    coverage = reader.parsed(FILES["coverage"], _parse_coverage)
    return Sources(
        folder=folder,
        manifest=manifest,
        verify=reader.document(FILES["verify"], s.Verification),
        coverage=None if coverage is None else tuple(coverage.rows),
        estimates=reader.document(FILES["estimates"], s.Estimates),
        analysis=reader.document(FILES["analysis"], s.Analysis),
        debug=reader.document(FILES["debug"], s.Debug),
        lint=reader.document(FILES["lint"], s.Lint),
        mixed=reader.document(FILES["mixed"], s.Mixed),
        auto=_auto(manifest, reader.problems),
        problems=tuple(reader.problems),
    )


def _parse_coverage(content: Any) -> _Coverage:
    return _Coverage.model_validate({"rows": content} if isinstance(content, list) else content)


def _auto(manifest: Manifest | None, problems: list[str]) -> s.Auto | None:
    recorded = None if manifest is None else manifest.sections.get("auto")
    if recorded is None:
        return None
    try:
        return s.Auto.model_validate(recorded)
    except ValidationError:
        problems.append("the manifest's section 'auto' is not of the expected form; run hexaquant auto again")
        return None
