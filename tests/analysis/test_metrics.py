"""Task metrics: top-k, the user's own, and what is no metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.analysis.metrics import each_label, find_metric, top_k
from hexaquant.core.errors import InputError

LOGITS = {"y": np.array([0.1, 3.0, 2.0, 1.0, -1.0, 0.5])}


@pytest.mark.parametrize(("k", "label", "score"), [(1, 1, 1), (1, 2, 0), (2, 2, 1), (5, 4, 0), (6, 4, 1), (99, 4, 1)])
def test_top_k(k: int, label: int, score: float) -> None:
    assert top_k(k)(LOGITS, np.int64(label)) == score


def test_one_hot_labels_count_as_their_class() -> None:
    one_hot = np.eye(6, dtype=np.float32)
    assert [top_k(1)(LOGITS, label) for label in each_label(one_hot)] == [0, 1, 0, 0, 0, 0]
    assert [top_k(1)(LOGITS, label) for label in each_label([[1], [2]])] == [1, 0]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.array([2, 5]), r"has shape \[2\]"),
        (np.array([0, 1.0, 1.0, 0, 0, 0]), "one-hot of 6 values"),
        (np.full(6, 1 / 6), r"has shape \[6\]"),
        (np.float32(0.5), "is 0.5"),
    ],
)
def test_labels_that_name_no_class_are_refused(label: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        top_k(1)(LOGITS, label)


def test_only_the_first_output_counts() -> None:
    assert top_k(1)({"a": np.array([[0.0, 1.0]]), "b": np.array([1.0, 0.0])}, 1) == 1.0


@pytest.mark.parametrize("name", ["top1", "top5"])
def test_metrics_by_name(name: str) -> None:
    found, metric = find_metric(name)
    assert found == name and metric.__name__ == name


def test_a_function_is_its_own_metric() -> None:
    def error(outputs: object, label: object) -> float:
        return 0.5

    assert find_metric(error) == ("error", error)


def test_a_function_of_the_users_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def negative_error(outputs, label):\n    return -abs(float(outputs['y'][0]) - label)\nlimit = 3\n")
    name, metric = find_metric(f"{file}:negative_error")
    assert name == "negative_error" and metric(LOGITS, 1.1) == pytest.approx(-1.0)
    with pytest.raises(InputError, match="is a int, not a function"):
        find_metric(f"{file}:limit")


@pytest.mark.parametrize("name", ["top0", "topx", "accuracy", ""])
def test_unknown_metrics_say_what_exists(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown metric '{name}': use top1, top5, or module:function"):
        find_metric(name)


@pytest.mark.parametrize(("label", "words"), [(6, "1-based"), (7, "0 to 5"), (-1, "0 to 5"), (1 << 40, "0 to 5")])
def test_a_label_beyond_the_classes_is_an_error_and_no_score(label: int, words: str) -> None:
    with pytest.raises(InputError, match=f"the network has 6 classes.*{words}"):
        top_k(1)(LOGITS, np.int64(label))
