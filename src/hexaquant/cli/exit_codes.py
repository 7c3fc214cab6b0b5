"""The one place where exceptions become exit codes, for ``hexaquant`` and for Qualcomm's programs.

0 done, 1 the result misses a stated threshold, 2 bad input or usage, 3 the target refuses the model, 4 the environment
lacks something, 70 our bug, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

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
    with _signals_end_quietly() as received:
        code = _guarded(console, work)
    return 128 + received[0] if received and code == INTERRUPTED else code


@contextlib.contextmanager
def _signals_end_quietly() -> Iterator[list[int]]:
    """Within the block SIGTERM and SIGHUP end the work as Ctrl-C does, so that nothing temporary is left.

    Yields the signals received. Those that the caller ignores (nohup) or handles stay as they are.
    """
    received: list[int] = []

    def end(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    taken = [number for name in names if main and signal.getsignal(number := getattr(signal, name)) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _guarded(console: Console, work: Callable[[], int]) -> int:
    try:
        return work()
    except KeyboardInterrupt:
        return fail(console, INTERRUPTED, "interrupted")
    except BrokenPipeError:
        return _nobody_reads(console)
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # typer turns it into an exit of its own
            return _nobody_reads(console)
        sentence = f"error: a function that the command called ended the program (exit code {leave.code}); repair it"
        return fail(console, InputError.exit_code, sentence, leave)
    except HexaquantError as error:
        return fail(console, error.exit_code, f"error: {_one_line(error)}", error)
    except OSError as error:
        known = system_error(error)
        if known is None:
            return _bug(console, error)
        return fail(console, known.exit_code, f"error: {known}", error)
    except ValueError as error:
        if "null byte" not in str(error):
            return _bug(console, error)
        return fail(console, InputError.exit_code, "error: a path holds a zero byte; correct it", error)
    except MemoryError as error:
        sentence = "error: the memory that this process may use is full; give fewer samples or raise the limit"
        return fail(console, EnvironmentLacksError.exit_code, sentence, error)
    except Exception as error:
        return _bug(console, error)


def _nobody_reads(console: Console) -> int:
    """Whoever read the results has gone (``| head``): no message, and none from Python at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), console.out.fileno())
    return 0


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
