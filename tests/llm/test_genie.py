"""A folder of hexaquant llm, spoken by Qualcomm's Genie: the same tokens as our own loop over the same binary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hexaquant import llm
from hexaquant.core.errors import InputError, WorkerError
from hexaquant.llm.binary import compile_decoder
from hexaquant.llm.genie import Genie, host_config
from hexaquant.llm.loop import Loop, choose
from hexaquant.llm.record import open_llm
from hexaquant.llm.static_decoder import Shapes
from llm.tiny import decoder, greedy, scaled_llama, tokenizer, tokens

STEPS = 12
PROMPTS = [tokens(count, seed=count) for count in (1, 5, 16, 17, 40)]
"""Shorter than a chunk, exactly one, one token more, several."""


def deployed(out: Path, model: Any, **how: Any) -> dict[str, Any]:
    sizes = {"context": 64, "prompt": 16, "samples": 4, "length": 48}
    return llm.deploy(model, out, tokenizer=tokenizer(), **{**sizes, **how})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("llm") / "out"
    deployed(out, decoder("llama"))
    return out


def own_tokens(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    out, record = open_llm(folder)
    with Loop(out / record.twin, record.form, record.rope, record.shapes, record.pad) as loop:
        found = []
        for prompt in prompts:
            loop.reset()
            found.append(list(loop.generate(prompt, STEPS, record.eos)))
    return found


def genie_tokens(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    with Genie(folder) as genie:
        found = []
        for prompt in prompts:
            genie.reset()
            found.append(list(genie.tokens(prompt, STEPS)))
    return found


def assert_spoken(folder: Path, model: Any) -> None:
    """Genie gives our loop's tokens; these are FP32's up to the first near tie."""
    own, theirs = own_tokens(folder, PROMPTS), genie_tokens(folder, PROMPTS)
    assert theirs == own
    for prompt, found in zip(PROMPTS, own):
        expected, margins = greedy(model, prompt, STEPS)
        first = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), None)
        assert first is None or margins[first] < 0.05, (first, margins)


def test_genie_speaks_our_loops_tokens(folder: Path) -> None:
    assert_spoken(folder, decoder("llama"))


@pytest.mark.slow
def test_several_lengths_of_context_in_one_binary(tmp_path: Path) -> None:
    """The last prompt leaves the shorter context while it is answered."""
    model = decoder("llama")
    made = deployed(tmp_path / "out", model, context=[96, 48])
    assert len(made["graphs"]) == 4 and made["context"] == 96
    assert_spoken(tmp_path / "out", model)


def test_the_shortest_context_that_holds_the_tokens_is_taken() -> None:
    shapes = tuple(Shapes(tokens, context) for context in (96, 48) for tokens in (16, 1))
    assert choose(shapes, 0, 40) == Shapes(16, 48)
    assert choose(shapes, 32, 8) == Shapes(16, 48)
    assert choose(shapes, 33, 8) == Shapes(1, 48)  # the prompt graph takes a cache of 32
    assert choose(shapes, 47, 1) == Shapes(1, 48)
    assert choose(shapes, 48, 1) == Shapes(1, 96)
    assert choose(shapes, 40, 12) == Shapes(16, 96)
    with pytest.raises(InputError, match="97 tokens"):
        choose(shapes, 96, 1)


def test_text_is_what_the_tokens_say(folder: Path) -> None:
    lengths = []
    with Genie(folder) as genie:
        for prompt in ("Hexagon", "the network", "x = 1", "a b c", "NPU"):
            ids = tokenizer()(prompt, add_special_tokens=False).input_ids
            genie.reset()
            spoken = list(genie.tokens(ids, STEPS))
            genie.reset()
            text = "".join(genie.text(prompt, STEPS))
            expected = tokenizer().decode([token for token in spoken if token != 2])
            whole = expected.partition("\ufffd")[0]  # Genie waits for the rest of a character that never comes
            assert text.partition("\ufffd")[0] == whole
            lengths.append(len(whole))
    assert max(lengths) > 4


def test_the_devices_binary_holds_the_weights_once(folder: Path) -> None:
    _, record = open_llm(folder)
    shared, twin = ((folder / name).stat().st_size for name in (record.device_binary, record.twin))
    weights = 8 * (4 * 64 * 64 + 3 * 64 * 128) // 8  # a layer's, in bytes
    assert shared < twin - weights


def test_an_interrupted_compilation_keeps_the_binary_that_it_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    _, record = open_llm(copy)
    whole = (copy / record.device_binary).read_bytes()
    (copy / record.device_binary).unlink()
    made: list[str] = []

    def recorded(lowered: Any, binary: Path, *rest: Any, **how: Any) -> Any:
        made.append(binary.name)
        return compile_decoder(lowered, binary, *rest, **how)

    monkeypatch.setattr("hexaquant.llm.pipeline.compile_decoder", recorded)
    llm.compile(copy)
    assert made == [record.device_binary] and len((copy / record.device_binary).read_bytes()) == len(whole)


def test_a_query_that_hangs_is_ended(folder: Path) -> None:
    with pytest.raises(WorkerError, match="took longer than"), Genie(folder, timeout_s=0.001):
        pass


def test_a_damaged_binary_is_refused_before_genie_sees_it(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    _, record = open_llm(copy)
    data = bytearray((copy / record.twin).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (copy / record.twin).write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        Genie(copy)


def test_what_genies_schema_refuses_is_said(folder: Path) -> None:
    config = host_config(folder)
    del config["dialog"]["context"]["size"]
    with pytest.raises(InputError, match="size"):
        Genie(folder, config=config)


def test_genies_configuration_has_the_networks_numbers(folder: Path) -> None:
    dialog = json.loads((folder / "genie_config.json").read_text())["dialog"]
    assert dialog["context"]["n-vocab"] == 320 and dialog["context"]["size"] == 64
    encoding = dialog["engine"]["model"]["positional-encoding"]
    assert encoding == {"type": "rope", "rope-dim": 8, "rope-theta": 10000.0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma3_text", "phi3", "gpt2"])
def test_architectures(kind: str, tmp_path: Path) -> None:
    model = decoder(kind)
    deployed(tmp_path / "out", model)
    assert_spoken(tmp_path / "out", model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama3", "yarn"])
def test_scaled_rotary_embeddings(kind: str, tmp_path: Path) -> None:
    model = scaled_llama(kind)
    deployed(tmp_path / "out", model)
    assert_spoken(tmp_path / "out", model)
