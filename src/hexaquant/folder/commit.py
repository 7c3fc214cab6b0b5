"""Several files of an artifact folder change together: all of them or, whenever the process dies, none.

They are written into a draft inside the folder; renaming the draft is the moment at which the change is made. Moving
the files to their places afterwards is repeated by whoever opens the folder next, should it be interrupted (a redo log:
Gray and Reuter, Transaction Processing, 1992, chapter 10).
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from hexaquant.core.atomic import write_error, write_text
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_json
from hexaquant.folder.manifest import NAME, inside

DRAFT = ".state/draft"
READY = ".state/commit"
OBSOLETE = ".obsolete.json"
"""In the draft: files of the folder that go away with the change."""


@contextlib.contextmanager
def commit(folder: Path, obsolete: Collection[str] = ()) -> Iterator[Path]:
    """Yield a draft that holds the folder's manifest alone; on success its files replace those of ``folder``.

    ``obsolete``: files of the folder that the change makes useless (a checkpoint); they are removed with it. After an
    error nothing has changed. Raises EnvironmentLacksError on a full disk, InputError where nothing can be written.
    """
    complete(folder)
    draft = folder / DRAFT
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        if (folder / NAME).is_file():
            shutil.copyfile(folder / NAME, draft / NAME)
        yield draft
        write_text(draft / OBSOLETE, json.dumps(sorted(obsolete)))
        draft.rename(folder / READY)
    except OSError as error:
        raise write_error(error, folder) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    complete(folder)


def complete(folder: Path) -> None:
    """Finish a change of ``folder`` that was made but whose files were not all moved; the manifest comes last.

    Raises EnvironmentLacksError or InputError when a file cannot be moved, InputError when one outside ``folder`` is
    to go.
    """
    ready = folder / READY
    if not ready.is_dir():
        return
    try:
        for name in _obsolete(ready):
            _place(folder, name).unlink(missing_ok=True)
        files = [file for file in ready.rglob("*") if file.is_file() and file.name != OBSOLETE]
        for file in sorted(files, key=lambda file: (file.name == NAME, file)):
            place = _place(folder, file.relative_to(ready).as_posix())
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        shutil.rmtree(ready)
    except OSError as error:
        raise write_error(error, folder) from error


def _obsolete(ready: Path) -> list[str]:
    file = ready / OBSOLETE
    if not file.is_file():
        return []
    names = read_json(file, "list of obsolete files")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file} is damaged: delete {ready} and make the folder's files again")
    return names


def _place(folder: Path, name: str) -> Path:
    """The file ``name`` of ``folder``, which neither its name nor a link may lead out of."""
    place = folder / inside(name)
    if not place.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"'{name}' lies outside the artifact folder {folder}, through a link; remove the link")
    return place
