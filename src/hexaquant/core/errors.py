"""Typed errors. Each says in one sentence what is wrong, where, and what to do; each knows its exit code.

Exit codes of every program: 0 done, 1 the result misses a stated threshold, 2 bad input or usage,
3 the target refuses the model, 4 the environment lacks something, 70 our bug.
"""

from __future__ import annotations


class HexaquantError(Exception):
    """Base of all expected errors; ``exit_code`` is what a program returns for it."""

    exit_code = 70


class InputError(HexaquantError):
    """The user's file, model, data or option is wrong."""

    exit_code = 2


class EncodingError(InputError):
    """An encoding or an encodings file is malformed or belongs to another model."""


class UnsupportedOpError(InputError):
    """The graph holds an operator that the executor or an importer does not know."""


class TargetError(HexaquantError):
    """The target (an HTP architecture) refuses the model as it stands."""

    exit_code = 3


class EnvironmentLacksError(HexaquantError):
    """A library, a platform or a resource that the task needs is missing."""

    exit_code = 4


class WorkerError(HexaquantError):
    """A child process that ran Qualcomm's libraries died, hung or reported a failure."""

    exit_code = 70


class DeadlineError(HexaquantError):
    """A request was not answered within the time its caller gave it."""

    exit_code = 4


class OverloadError(HexaquantError):
    """More requests wait than there is room for."""

    exit_code = 4


class ThresholdMissed(HexaquantError):
    """The job is done but its result misses a threshold that the user stated."""

    exit_code = 1
