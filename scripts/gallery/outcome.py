"""One row of a gallery, and the table of all."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.errors import HexaquantError


@dataclass(frozen=True)
class Outcome:
    """``passed``; ``words``: what was measured, or the error; ``kind``: of the error (InputError ...); CPU seconds."""

    name: str
    passed: bool
    words: str
    kind: str
    seconds: float


class Overtime(Exception):
    """A network took longer than it may."""


def attempt(name: str, work: Callable[[], str], limit: int = 600) -> Outcome:
    """Do ``work`` (which returns what it measured) within ``limit`` seconds."""

    def stop(*_: Any) -> None:
        raise Overtime(f"no end after {limit} s")

    start = _cpu_seconds()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        words, kind, passed = work(), "", True
    except (HexaquantError, Overtime) as error:
        words, kind, passed = str(error), type(error).__name__, False
    except Exception as error:  # a fault of ours: the gallery goes on and says so
        words, kind, passed = f"{type(error).__name__}: {error}", "fault", False
    finally:
        signal.alarm(0)
    return Outcome(name, passed, " ".join(words.split())[:400], kind, round(_cpu_seconds() - start, 1))


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def known(file: Path) -> list[Outcome]:
    """The rows that an earlier run left in ``file``."""
    return [Outcome(**row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []


def keep(outcomes: Sequence[Outcome], file: Path) -> None:
    """Write ``outcomes`` as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1), encoding="utf-8")


def tell(outcomes: Sequence[Outcome], file: Path) -> None:
    """Print who of ``outcomes``, which ``file`` holds, fails and why."""
    keep(outcomes, file)
    for outcome in outcomes:
        if not outcome.passed:
            print(f"{outcome.name}: {outcome.kind}: {outcome.words}")
    print(f"{sum(o.passed for o in outcomes)} of {len(outcomes)} pass; {file}")


def timed(outcome: Outcome) -> Outcome:
    """``outcome``, printed as it comes."""
    print(
        f"{time.strftime('%H:%M:%S')} {outcome.name} {'ok' if outcome.passed else outcome.kind} {outcome.words[:160]}"
    )
    return outcome
