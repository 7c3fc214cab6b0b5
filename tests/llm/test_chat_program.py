"""The bundle of a language model: its C program, built as its README says, says what Genie says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from bundle.native import tool
from cli.command import hexaquant
from hexaquant import llm
from hexaquant.llm.genie import Genie
from hexaquant.llm.texts import chat_tokens, turn_texts
from hexaquant.qnn.libraries import find_libraries
from llm.tiny import VOCABULARY, decoder, tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '</>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
COUNT = 12


def speaking_decoder() -> Any:
    """Says letters alone: the logits of everything else are 0, which the best of 95 exceeds."""
    model = decoder("llama", tie_word_embeddings=False)
    words = [tokenizer().decode([index]) for index in range(VOCABULARY)]
    silent = [index for index, word in enumerate(words) if len(word) != 1 or not " " < word <= "~"]
    with torch.no_grad():
        model.lm_head.weight[silent] = 0
    return model


def speaking_tokenizer(template: str = TEMPLATE) -> Any:
    made = tokenizer()
    made.chat_template = template
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chat") / "out"
    sizes = {"context": 128, "prompt": 16, "samples": 2, "length": 32}
    llm.deploy(speaking_decoder(), out, tokenizer=speaking_tokenizer(), **sizes)
    return out


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    made = folder.parent / "host"
    done = hexaquant("bundle", folder, "--for", "host", "-o", made)
    assert done.code == 0, done.err
    for words in (("-S", made / "c", "-B", made / "build", "-DHQ_STRICT=ON"), ("--build", made / "build")):
        built = subprocess.run([tool("cmake"), *map(str, words)], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
    return made


def chat(bundle: Path, *words: object, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    program = [bundle / "build" / "hexaquant_chat", "--bundle", bundle, "--libraries", find_libraries().folder]
    given = [str(word) for word in (*program, *words)]
    return subprocess.run(given, input=stdin.encode(), capture_output=True, check=False, timeout=300)


def spoken(folder: Path, prompt: str) -> bytes:
    with Genie(folder) as genie:
        return "".join(genie.text(prompt, COUNT)).encode()


def test_one_question_with_and_without_the_template(folder: Path, bundle: Path) -> None:
    for words, prompt in ((("--plain",), "Hexagon"), ((), "<user>Hexagon</><assistant>")):
        done = chat(bundle, "--prompt", "Hexagon", "--tokens", COUNT, *words)
        assert done.returncode == 0, done.stderr
        expected = spoken(folder, prompt)
        assert len(expected) == COUNT and done.stdout.endswith(expected + b"\n")


def test_a_conversation_goes_on(folder: Path, bundle: Path) -> None:
    done = chat(bundle, "--tokens", 4, stdin="What?\nWhy?\n\nnot asked\n")
    assert done.returncode == 0, done.stderr
    with Genie(folder) as genie:
        asked = ["<user>What?</><assistant>", "</><user>Why?</><assistant>"]
        expected = "".join("".join(genie.text(text, 4)) + "\n" for text in asked)
    assert len(expected) == 10 and done.stdout.decode().endswith(expected)


@pytest.mark.parametrize("words", [("--tokens", 0), ("--tokens", "x"), ("--what", 1), ("--prompt",)])
def test_wrong_arguments_are_told(bundle: Path, words: tuple[object, ...]) -> None:
    done = chat(bundle, *words)
    assert done.returncode == 2 and done.stderr.startswith(b"usage:")


def test_what_is_missing_is_told(bundle: Path, tmp_path: Path) -> None:
    for place, words in ((bundle, ("--libraries", tmp_path)), (tmp_path, ())):
        done = chat(place if place == bundle else bundle, *(words or ("--bundle", tmp_path)))
        assert done.returncode == 1 and b"error: " in done.stderr


def test_a_bundle_for_a_phone_has_the_shared_binary_and_its_configuration(folder: Path, tmp_path: Path) -> None:
    done = hexaquant("bundle", folder, "--for", "android", "-o", tmp_path / "phone")
    assert done.code == 0, done.err
    made = tmp_path / "phone"
    config = json.loads((made / "genie_config.json").read_text())
    assert config["dialog"]["engine"]["model"]["binary"]["ctx-bins"] == ["model.sm8650.bin"]
    assert config == json.loads((folder / "genie_config.json").read_text())
    for name in ("model.sm8650.bin", "tokenizer.json", "htp_backend_ext_config.json", "toolchains/android.cmake"):
        assert (made / name).is_file(), name
    assert not (made / "twin.sm8650.bin").exists()


def test_labels_are_no_matter_of_a_language_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\n")
    done = hexaquant("bundle", folder, "--for", "host", "-o", tmp_path / "x", "--labels", tmp_path / "labels.txt")
    assert done.code == 2 and "language model" in done.err


def test_the_programs_template_gives_the_tokens_of_our_own() -> None:
    made = speaking_tokenizer()
    first, following, end = turn_texts(made, -1)
    one = made(first + "A?" + end, add_special_tokens=False).input_ids
    assert one == chat_tokens(made, ["A?"], -1)
    three = made(first + "A?" + end + "B." + following + "C?" + end, add_special_tokens=False).input_ids
    assert three == chat_tokens(made, ["A?", "B.", "C?"], -1)


def test_a_template_that_shows_the_last_question_alone_is_not_taken_apart() -> None:
    assert turn_texts(speaking_tokenizer("{{ messages[-1]['content'] * 2 }}"), -1) == ("", "", "")
    assert turn_texts(tokenizer(), -1) == ("", "", "")
