"""Settings files: bounded before they are parsed, no key twice, nothing converted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hexaquant.core.errors import InputError
from hexaquant.core.sealed import Damaged, seal_json, unseal_json
from hexaquant.core.text_file import read_json, read_yaml
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.sim.overrides import parse_overrides

MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 24))


@pytest.mark.parametrize(
    "text, words",
    [
        (MERGES, "merge keys"),
        ("x: " + "1:" * 200_000 + "1", None),
        ("[" * 10_000 + "]" * 10_000, "deep"),
        ("- " * 5000 + "x", "deep"),
        ("{a: 1, a: 2}", "'a' stands twice"),
        ("a: 1\nb: 2\na: 3\n", "'a' stands twice"),
        ("1: a\n1: b\n", "stands twice"),
        ('a: "\\0"', "zero byte"),
        ("a: &a [*a]", "nested too deeply"),
    ],
)
def test_yaml_that_grows_or_says_things_twice_is_refused_at_once(text: str, words: str | None, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    start = time.process_time()
    if words is None:
        assert isinstance(read_yaml(tmp_path / "s.yaml", "settings")["x"], str)
    else:
        with pytest.raises(InputError, match=words):
            read_yaml(tmp_path / "s.yaml", "settings")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 10_000 + "]" * 10_000, "deeper"),
        ('{"a": ' * 200 + "1" + "}" * 200, "deeper"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": "\\ud800"}', "no Unicode"),
        ('{"a": 1' + "0" * 5000 + "}", "not JSON"),
    ],
)
def test_json_that_grows_or_says_things_twice_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_json(tmp_path / "s.json", "settings")


def test_brackets_in_text_are_no_depth(tmp_path: Path) -> None:
    document = {"a": '[{\\"' * 500, "b": ["\\"]}
    (tmp_path / "s.json").write_text(json.dumps(document))
    assert read_json(tmp_path / "s.json", "settings") == document


def test_yaml_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("[1e-3, 0x10, -7, 1.5, .5, 2024-01-01, 1:30, yes, ~, 010]")
    found = read_yaml(tmp_path / "s.yaml", "settings")
    assert found == [0.001, 16, -7, 1.5, 0.5, "2024-01-01", "1:30", True, None, "010"]


@pytest.mark.parametrize(
    "setting, words",
    [
        ({"float": "false"}, "'float' .*boolean"),
        ({"float": 0}, "'float' .*boolean"),
        ({"bits": "8"}, "'bits'"),
        ({"bits": True}, "'bits'"),
        ({"symmetric": "no"}, "'symmetric'"),
        ({"granularity": "row"}, "'granularity'"),
        ({"block_size": "64"}, "'block_size'"),
        ({"block_size": 0}, "'block_size'"),
        ({"observer": 5}, "'observer'"),
        ({"observer": ["mse"]}, "'observer'"),
    ],
)
def test_overrides_convert_nothing(setting: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_overrides({"x": setting})


@pytest.mark.parametrize("glob", [1, None, True, 1.5])
def test_a_glob_is_text(glob: object) -> None:
    with pytest.raises(InputError, match="in quotes"):
        parse_overrides({glob: "w8a8"})  # type: ignore[dict-item]


def test_a_step_of_a_recipe_converts_nothing() -> None:
    with pytest.raises(InputError, match="step 'round_weights'"):
        parse_recipe({"steps": [{"round_weights": {"method": 5}}]})


def test_a_sealed_document_shows_every_change() -> None:
    text = seal_json({"score": 0.5, "names": ["a", "ü"]})
    assert unseal_json(text) == {"score": 0.5, "names": ["a", "ü"]}
    for changed in (text.replace("0.5", "0.6"), text[:-3], "", "[]", "{}", "[" * 5000, text.replace('"a"', '"b"')):
        with pytest.raises(Damaged):
            unseal_json(changed)
