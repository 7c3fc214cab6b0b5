"""llm verify and llm eval: who says what, how far the logits are, and what a wrong configuration is caught by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli.command import hexaquant
from hexaquant import llm
from hexaquant.core.errors import InputError
from hexaquant.llm.measures import Tally, margin
from llm.tiny import decoder, tokenizer

TEXT = "The quick brown fox jumps over the lazy dog. " * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("llm") / "out"
    llm.deploy(decoder("qwen2"), out, tokenizer=tokenizer(), context=64, prompt=16, samples=4, length=48)
    return out


def test_verify_compares_who_says_what(folder: Path) -> None:
    found = llm.verify(folder, prompts=["Hello", "What is it?"], count=8)
    for row in found["prompts"]:
        assert row["genie_is_loop"] is True
        assert set(row["tokens"]) == {"fp32", "simulation", "loop", "genie"}
        assert row["departure"] is None or row["margin"] is not None
    ids = tokenizer()("Hello", add_special_tokens=False).input_ids
    expected = decoder("qwen2").generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :]
    assert found["prompts"][0]["tokens"]["fp32"] == [int(t) for t in expected if t != 2]


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "rope-theta": lambda d: d["engine"]["model"]["positional-encoding"].update({"rope-theta": 500000.0}),
    "n-vocab": lambda d: d["context"].update({"n-vocab": 400}),
    "kv-dim": lambda d: d["engine"]["backend"]["QnnHtp"].update({"kv-dim": 32}),
    "size": lambda d: d["context"].update({"size": 32}),
    "eos-token": lambda d: d["context"].update({"eos-token": 5}),
    "bos-token": lambda d: d["context"].update({"bos-token": 1}),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_of_genies_configuration_is_caught(folder: Path, field: str) -> None:
    file = folder / "genie_config.json"
    good = file.read_text()
    config = json.loads(good)
    WRONG[field](config["dialog"])
    try:
        file.write_text(json.dumps(config))
        with pytest.raises(InputError, match=field):
            llm.verify(folder, prompts=["Hello"], count=1)
    finally:
        file.write_text(good)


def test_eval_has_fp32s_perplexity_and_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    first = llm.evaluate(folder, text, length=48, limit=1)
    found = llm.evaluate(folder, text, length=48, limit=3)
    assert first["figures"]["fp32"]["tokens"] == 48 and found["figures"]["target"]["tokens"] == 144
    model, ids = decoder("qwen2"), tokenizer()(TEXT, add_special_tokens=False).input_ids
    losses = []
    for start in range(0, 144, 48):
        part = torch.tensor([ids[start : start + 48]])
        with torch.no_grad():
            losses.append(float(model(part, labels=part).loss))
    assert found["figures"]["fp32"]["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    assert found["figures"]["fp32"]["kl"] == pytest.approx(0, abs=1e-9)
    assert found["figures"]["simulation against target"]["logits_sqnr_db"] > 35
    assert found["figures"]["target"]["logits_sqnr_db"] > 24


def test_eval_resumes_without_measuring_again(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    whole = llm.evaluate(folder, text, length=40, limit=2, who=["simulation"])
    state = json.loads((folder / ".state/llm_eval.json").read_text())
    state["tallies"]["simulation"]["tally"]["same"] = -1000  # would be lost if it were measured again
    (folder / ".state/llm_eval.json").write_text(json.dumps(state))
    again = llm.evaluate(folder, text, length=40, limit=2, who=["simulation"])
    assert again["figures"]["simulation"]["same_argmax"] < 0 < whole["figures"]["simulation"]["same_argmax"]
    more = llm.evaluate(folder, text, length=40, limit=3, who=["simulation"])
    assert more["figures"]["simulation"]["same_argmax"] < 0 and more["figures"]["simulation"]["tokens"] == 120
    fewer = llm.evaluate(folder, text, length=40, limit=1, who=["simulation"])
    assert fewer["figures"]["simulation"]["same_argmax"] > 0 and fewer["figures"]["simulation"]["tokens"] == 40


def test_tally_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    reference, logits = (rng.normal(size=(5, 7)).astype(np.float32) for _ in range(2))
    following = rng.integers(0, 7, 4)
    tally = Tally()
    tally.add(reference, logits, following)
    p, q = (torch.log_softmax(torch.from_numpy(x).double(), -1) for x in (reference, logits))
    figures = tally.figures()
    assert figures["kl"] == pytest.approx(float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum")) / 5)
    loss = float(torch.nn.functional.cross_entropy(torch.from_numpy(logits[:4]).double(), torch.from_numpy(following)))
    assert figures["perplexity"] == pytest.approx(np.exp(loss), rel=1e-6)
    assert margin(np.array([0.0, 1.0, 3.0, 4.0], np.float32)) == pytest.approx(0.25)


def test_commands(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    verified = hexaquant("llm", "verify", folder, "--prompt", "Hello", "--tokens", 4, "--json")
    assert verified.code in (0, 1) and verified.document["prompts"][0]["genie_is_loop"] is True
    evaluated = hexaquant("llm", "eval", folder, "--data", text, "--length", 40, "--limit", 1, "--on", "simulation")
    assert evaluated.code == 0 and "perplexity" in evaluated.out and "fp32" in evaluated.out
    chatted = hexaquant("llm", "chat", folder, "--prompt", "Hello", "--limit", 4, "--json")
    assert chatted.code == 0 and chatted.document["answers"][0]["tokens"] <= 4
    assert "of the emulator (not of a device)" in chatted.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy", "nowhere/at/all", "-o", "{}"], "does not exist"),
        (["deploy", "README.md", "-o", "{}"], "neither a folder nor a .gguf file"),
        (["deploy", "x", "-o", "{}", "--cache-bits", "4"], "give 8 or 16"),
        (["deploy", "x", "-o", "{}", "--scheme", "w3a16"], "unknown scheme"),
        (["chat", "{}"], "run hexaquant llm deploy"),
        (["verify", "{}"], "run hexaquant llm deploy"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = hexaquant("llm", *(argument.format(tmp_path / "none") for argument in arguments))
    result.assert_refused(2, words)
    assert not (tmp_path / "none" / "manifest.json").exists()
