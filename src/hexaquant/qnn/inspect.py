"""What a DLC or a context binary holds: graphs, tensors, encodings, SoC, versions."""

from __future__ import annotations

from pathlib import Path

from hexaquant.core.errors import InputError
from hexaquant.qnn.process import Child, JobFailed, Limits, child_seconds, run_job
from hexaquant.qnn.records import BinaryInfo, DlcInfo


def inspect_dlc(path: Path, limits: Limits | None = None, child: Child | None = None) -> DlcInfo:
    """Graphs of a DLC with every tensor, encoding and operator. Raises InputError for anything but a DLC.

    ``child``: a process that waits for the job, instead of a new one.
    """
    _require_file(path)
    run = run_job if child is None else child.run
    limits = limits or Limits(min(120.0, child_seconds()))
    try:
        outcome = run("inspect_dlc", {"dlc": str(path.resolve())}, limits)
    except JobFailed as failure:
        raise failure.as_error(path.name) from failure
    return DlcInfo.from_json(outcome.result)


def inspect_binary(path: Path, limits: Limits | None = None) -> BinaryInfo:
    """Metadata of a context binary. Raises InputError for anything else.

    Only the description is read; the library checks no weights, so compare the SHA-256 (integrity.py).
    """
    _require_file(path)
    try:
        outcome = run_job("inspect_binary", {"bin": str(path.resolve())}, limits or Limits(min(120.0, child_seconds())))
    except JobFailed as failure:
        raise failure.as_error(path.name) from failure
    return BinaryInfo.from_json(outcome.result)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file: give the path of a file that compile wrote")
