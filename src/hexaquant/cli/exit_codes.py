"""The one place where exceptions become exit codes, for ``hexaquant`` and for Qualcomm's programs.

0 done, 1 the result misses a stated threshold, 2 bad input or usage, 3 the target refuses the model, 4 the environment
lacks something, 70 our bug, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from hexaquant.cli.console import Console
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError

DEBUG = "HEXAQUANT_DEBUG"
"""Environment variable: when set and not 0, errors show their traceback."""

NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "1")
"""onnxruntime sends usage data and leaves a file in the temporary folder unless told before it is imported."""

BUG, INTERRUPTED = 70, 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def guarded(console: Console, work: Callable[[], int]) -> int:
    """The exit code of ``work``; whatever it raises becomes one sentence on stderr and its exit code."""
    os.environ.setdefault(*NO_TELEMETRY)
    try:
        return work()
    except KeyboardInterrupt:
        return fail(console, INTERRUPTED, "interrupted")
    except HexaquantError as error:
        return fail(console, error.exit_code, f"error: {_one_line(error)}", error)
    except OSError as error:
        known = system_error(error)
        if known is None:
            return _bug(console, error)
        return fail(console, known.exit_code, f"error: {known}", error)
    except Exception as error:
        return _bug(console, error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def system_error(error: OSError) -> HexaquantError | None:
    """What the operating system refused, as one sentence; None when it is not the user's to mend."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        return EnvironmentLacksError(f"the disk is full{where}, nothing was left half-written; free space and repeat")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return InputError(f"{error.strerror}{where}: choose another place or fix its permissions")
    if error.errno == errno.ENOENT and error.filename:
        return InputError(f"there is no {error.filename}; check the path")
    if error.errno in (errno.ENOMEM, errno.EMFILE):
        return EnvironmentLacksError(f"{error.strerror}{where}: close other programs and repeat")
    return None


def _bug(console: Console, error: BaseException) -> int:
    hint = f"run again with {DEBUG}=1 to see the traceback, and please report it"
    return fail(console, BUG, f"error: unexpected {type(error).__name__}: {_one_line(error)[:300]}; {hint}", error)


def fail(console: Console, code: int, sentence: str, error: BaseException | None = None) -> int:
    """Say ``sentence``, with the traceback of ``error`` where that is wanted; returns ``code``."""
    if error is not None and os.environ.get(DEBUG, "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    console.fail(sentence, code)
    return code
