"""How one task of a sweep runs, wherever: in this process, in a child, on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hexaquant.analysis.metrics import find_metric
from hexaquant.analysis.sensitivity import Measurement, Study

Result = dict[str, Any]


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
