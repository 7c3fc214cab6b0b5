"""The example of the documentation, shortened: a Keras CNN trained on Fashion-MNIST reaches the target whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras_fashion_mnist.py"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keras_fashion_mnist", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_trained_keras_network_keeps_its_accuracy_on_the_target(tmp_path: Path) -> None:
    fashion = example()
    fashion.keras.utils.set_random_seed(0)
    model = fashion.network()
    fashion.train(model, epochs=3, images=12_800)
    reports = fashion.deploy(model, tmp_path, images=1_000, qat_images=4_800)
    for scheme, report in reports.items():
        scores = report["metrics"]
        assert scores["fp32"] > 0.7
        assert abs(scores["target"] - scores["fp32"]) <= 0.01, (scheme, scores)
