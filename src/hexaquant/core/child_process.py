"""How child processes of this package start: with the packages of this process, and no module of a user's folder.

Each gets a working folder of its own (``scratch_folder``), so that neither Python nor a native library finds files
beside the user's model; paths in a child's job are therefore absolute.
"""

import os
import sys

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    import tempfile

# Where Python looks for modules: never in the folder that a command is started in.
#
# ``python -m`` puts the working folder first on ``sys.path``, so that a ``numpy.py`` beside a model would run. This
# module is imported before that is undone: it and the packages above it import nothing but ``os`` and ``sys``, which
# Python has loaded by then (not even ``__future__``).


def drop_working_folder() -> None:
    """Undo what ``python -m`` did to ``sys.path``; nothing where it did nothing (``-P``, a console script)."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - pathlib would be looked for there
        del sys.path[0]


SCRATCH = "hexaquant-"
"""Beginning of the names of all temporary folders of this package."""


def child_command(module: str, *arguments: str) -> list[str]:
    """``python -P -m module arguments``: -P keeps the working folder off ``sys.path``."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(**settings: str) -> dict[str, str]:
    """This process's environment with ``settings``, and a PYTHONPATH that leads to this very package.

    Of the user's PYTHONPATH remain absolute folders other than the working folder: cluster modules install packages
    through it; an empty or relative entry would be the folder at hand.
    """
    from pathlib import Path

    root = str(Path(__file__).resolve().parents[2])
    kept = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if _is_fixed(folder)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *kept]), "PYTHONSAFEPATH": "1", **settings}


def _is_fixed(folder: str) -> bool:
    return os.path.isabs(folder) and os.path.realpath(folder) != os.path.realpath(os.curdir)  # noqa: PTH117 - as Python


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """An empty folder for a child to work in; remove it when the child has ended."""
    import tempfile

    return tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True)
