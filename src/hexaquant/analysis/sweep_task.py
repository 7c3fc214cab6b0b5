"""How one task of a sweep runs, wherever: in this process, in a child, on a cluster."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from hexaquant.analysis.metrics import find_metric
from hexaquant.analysis.sensitivity import Measurement, Study
from hexaquant.core.errors import InputError

Result = dict[str, Any]


def packed(study: Study) -> bytes:
    """``study`` for another process. Raises InputError when the metric cannot be sent there.

    With it go the folders that may hold the user's own metric, and none where there is no such metric.
    """
    own = callable(study.metric) or ":" in (study.metric or "")
    folders = [str(Path(folder).absolute()) for folder in ("", *sys.path)] if own else []
    try:
        return pickle.dumps(folders) + pickle.dumps(study)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the metric cannot be sent to other processes ({error}): give module:function, or workers=1"
        ) from None


def unpacked(stream: IO[bytes]) -> Study:
    """The study that ``packed`` wrote, by this process's parent.

    The user's metric runs in the user's working folder and finds its modules there, after all installed ones.
    """
    folders = pickle.load(stream)
    sys.path += [folder for folder in folders if folder not in sys.path]
    if folders and Path(folders[0]).is_dir():
        os.chdir(folders[0])
    study: Study = pickle.load(stream)
    return study


def make_measurement(study: Study) -> Measurement:
    """With the metric looked up: named ones are found where the task runs."""
    return Measurement(study, None if study.metric is None else find_metric(study.metric)[1])


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses one thread: as many processes run as there are cores, and sums stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
