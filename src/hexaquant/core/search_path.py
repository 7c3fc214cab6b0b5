"""Where Python looks for modules: never in the folder that a command is started in.

``python -m`` puts the working folder first on ``sys.path``, so that a ``numpy.py`` beside a model would run. This
module is imported before that is undone: it and the packages above it import nothing but ``os`` and ``sys``, which
Python has loaded by then (not even ``__future__``).
"""

import os
import sys


def drop_working_folder() -> None:
    """Undo what ``python -m`` did to ``sys.path``; nothing where it did nothing (``-P``, a console script)."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - pathlib would be looked for there
        del sys.path[0]
