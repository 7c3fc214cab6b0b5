"""A process of a sweep: ``python -m hexaquant.analysis.sweep_child``.

Reads one pickled Study and then pickled Tasks from stdin, answers each with a pickled result or exception. Its parent
is this package (analysis/sweep.py); it ends when stdin closes.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

import torch

from hexaquant.analysis.sweep import make_measurement, unpacked
from hexaquant.core.errors import HexaquantError, WorkerError


def main() -> None:
    """Serve until stdin closes."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a metric prints is no answer
    try:
        _serve(answers)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return


def _serve(answers: IO[bytes]) -> None:
    """Answer every task; where the study itself is wrong, the first one with that error."""
    try:
        measurement = make_measurement(unpacked(sys.stdin.buffer))
    except HexaquantError as error:
        pickle.dump(error, answers)
        answers.flush()
        return
    while True:
        answer = _answer(measurement, pickle.load(sys.stdin.buffer))
        pickle.dump(answer, answers)
        answers.flush()


def _answer(measurement: Any, task: Any) -> Any:
    try:
        return measurement.run(task)
    except HexaquantError as error:
        return error
    except Exception as error:
        return WorkerError(f"part {task.key} of the sweep failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
