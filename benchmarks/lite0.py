"""EfficientNet-Lite0 as an artifact folder, for the benchmarks that look into one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
INPUT = "inputs"


def pictures(count: int) -> dict[str, np.ndarray]:
    """``count`` labelled pictures: the 20 photos, then cut-outs where that package is, then mirrored photos."""
    import efficientnet_lite0 as example

    found = [*example.photos(), *example.cutouts()][:count]
    arrays = [example.preprocess(picture.path) for picture in found]
    labels = [min(picture.accepted) for picture in found]
    mirrored = found[: count - len(found)]
    arrays += [example.preprocess(picture.path, mirror=True) for picture in mirrored]
    labels += [min(picture.accepted) for picture in mirrored]
    return {INPUT: np.stack(arrays), "labels": np.array(labels)}


def quantized_folder(folder: Path, data: dict[str, np.ndarray], **how: Any) -> Path:
    """``folder``, quantized with the recipe fast if it is not there yet."""
    import efficientnet_lite0 as example

    import hexaquant as hq

    if not (folder / "manifest.json").is_file():
        graph = hq.load(example.load_model(), example_inputs=(torch.from_numpy(data[INPUT][:2]),))
        hq.quantize(graph, data, **how).export(folder)
    return folder
