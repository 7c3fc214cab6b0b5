"""The --data and --eval-data options: opened for a graph, with the refusals that a command line needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.io.dataset import Dataset
    from hexaquant.io.image_folder import ImageSpec
    from hexaquant.ir.graph import Graph

RANDOM_SAMPLES = 20
"""Samples of noise: sixteen to calibrate, four held out."""

RANDOM_WARNING = "CALIBRATED ON RANDOM DATA: the figures say that the conversion works, not how accurate the model is"


def check_choice(data: str | None, random: bool) -> None:
    """Raise InputError unless exactly one of --data and --random-data is given."""
    if data is None and not random:
        raise InputError(
            "there is no calibration data: give --data, or --random-data for a trial whose accuracy means nothing"
        )
    if data is not None and random:
        raise InputError("--data and --random-data exclude each other; give one of them")


def calibration_data(graph: Graph, data: str | None, random: bool, images: ImageSpec | None) -> Dataset:
    """The calibration samples."""
    check_choice(data, random)
    if random or data is None:
        from hexaquant.api.quantize import random_data

        return random_data(graph, RANDOM_SAMPLES)
    from hexaquant.io.data import open_data

    return open_data(data, graph, images)
