"""The user's words become objects once: one ``hexaquant quantize`` resolves each setting a single time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest

from cli.command import hexaquant
from hexaquant.api.settings import resolve
from hexaquant.core.errors import InputError, TargetError
from hexaquant.htp.scheme import find_scheme
from hexaquant.htp.soc import find_target
from hexaquant.ptq.recipe import find_recipe, parse_recipe
from hexaquant.sim.overrides import parse_overrides, read_overrides
from ir.onnx_text import proto, random

RESOLVERS = (find_target, find_scheme, find_recipe, parse_recipe, parse_overrides, read_overrides)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each of RESOLVERS is called, by whatever name it was imported."""
    codes = {function.__code__: function.__name__ for function in RESOLVERS}
    calls: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in codes:
            calls[codes[frame.f_code]] += 1

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_one_quantize_resolves_target_scheme_recipe_and_overrides_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "(float[1,4] x) => (float[1,4] y) { a = Gemm (x, w)\n y = Relu (a) }"
    onnx.save(proto(text, w=random(4, 4)), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=random(8, 4))
    (tmp_path / "overrides.yaml").write_text("a: w8a16\n")
    (tmp_path / "recipe.yaml").write_text("steps:\n- calibrate: {}\n")
    monkeypatch.chdir(tmp_path)
    words = ["net.onnx", "--data", "data.npz", "-o", "out", "--target", "v73", "--scheme", "W8A8", "--json"]
    with counted() as calls:
        done = hexaquant("quantize", *words, "--recipe", "recipe.yaml", "--overrides", "overrides.yaml")
    assert done.code == 0 and done.document["target"] == "sm8550"
    assert calls == dict.fromkeys((function.__name__ for function in RESOLVERS), 1)


def test_words_become_objects() -> None:
    found = resolve("v75", "W8A16", "plain", {"conv*": "fp16"})
    assert (found.target.name, found.scheme.act_bits, found.recipe.name) == ("sm8650", 16, "plain")
    assert found.overrides.find("conv1") is not None and dict(found.overrides.document) == {"conv*": "fp16"}
    assert resolve(found.target, found.scheme, found.recipe, found.overrides) == found


def test_what_does_not_exist_or_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="unknown target 'sm8651'"):
        resolve("sm8651")
    with pytest.raises(InputError, match="unknown recipe"):
        resolve(recipe="quick")
    with pytest.raises(TargetError, match="has no kernels for 16-bit weights"):
        resolve("sm8350", "w16a16")
