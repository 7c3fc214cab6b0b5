"""Folders and GGUF files that are no whole language model: one sentence, exit 2, no code run, nothing written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import hexaquant
from hexaquant.llm.source import open_source
from llm.tiny import decoder, tokenizer

CONFIG, WEIGHTS, TOKENS, HOW = "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
EVIL = {"model_type": "ghost", "auto_map": {"AutoConfig": "evil.E", "AutoModelForCausalLM": "evil.M"}}
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
PICKLE = b"cos\nsystem\n(S'touch ran'\ntR."
Change = Callable[[Path], object]


def holds(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def says(name: str, **settings: object) -> Change:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | settings))


def cut(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(PICKLE)


def own_code(folder: Path) -> None:
    says(CONFIG, **EVIL)(folder)
    (folder / "evil.py").write_text("open('ran', 'w')\n")


FOLDERS: dict[str, tuple[Change, str]] = {
    "an empty configuration": (holds(CONFIG, b""), "config.json"),
    "a configuration that is a list": (holds(CONFIG, b"[]"), "config.json"),
    "a configuration of 10,000 levels": (holds(CONFIG, b"[" * 10_000 + b"]" * 10_000), "levels"),
    "a configuration of zeros": (holds(CONFIG, bytes(100)), "config.json"),
    "a configuration without a type": (holds(CONFIG, b"{}"), "model_type"),
    "an unknown type of network": (says(CONFIG, model_type="ghost"), "ghost"),
    "a network with code of its own": (own_code, "custom code"),
    "another kind of network": (says(CONFIG, model_type="bert"), "no weights"),
    "more layers than weights": (says(CONFIG, num_hidden_layers=4), "no weights"),
    "fewer layers than weights": (says(CONFIG, num_hidden_layers=1), "no place"),
    "no layers": (says(CONFIG, num_hidden_layers=0), "num_hidden_layers"),
    "layers in words": (says(CONFIG, num_hidden_layers="two"), "num_hidden_layers"),
    "10^9 layers": (says(CONFIG, num_hidden_layers=10**9), "num_hidden_layers"),
    "a width of 2^40": (says(CONFIG, hidden_size=1 << 40), "hidden_size"),
    "no heads": (says(CONFIG, num_attention_heads=0), "num_attention_heads"),
    "heads that do not divide": (says(CONFIG, num_attention_heads=3), "attention heads"),
    "10^12 tokens": (says(CONFIG, vocab_size=10**12), "vocab_size"),
    "weights of other shapes": (says(CONFIG, hidden_size=32), "other shapes"),
    "an unknown activation": (says(CONFIG, hidden_act="ghost"), "ghost"),
    "an unknown kind of RoPE": (says(CONFIG, rope_parameters={"rope_type": "ghost"}), "ghost"),
    "an empty tokenizer": (holds(TOKENS, b""), "tokenizer"),
    "a tokenizer that is a list": (holds(TOKENS, b"[]"), "tokenizer"),
    "half a tokenizer": (cut(TOKENS, 500), "tokenizer"),
    "a tokenizer of 10,000 levels": (holds(TOKENS, b"[" * 10_000 + b"]" * 10_000), "tokenizer"),
    "no tokenizer": (without(TOKENS), "tokenizer"),
    "settings of the tokenizer that are no JSON": (holds(HOW, b"{"), HOW),
    "a chat template that is no template": (says(HOW, chat_template="{% for %}"), "chat template"),
    "a chat template that leaves the sandbox": (says(HOW, chat_template=ESCAPE), "chat template"),
    "settings of answers that are no JSON": (holds("generation_config.json", b"{"), "generation_config.json"),
    "empty weights": (holds(WEIGHTS, b""), "weights"),
    "half of the weights": (cut(WEIGHTS, 200_000), "weights"),
    "weights with half a header": (cut(WEIGHTS, 20), "weights"),
    "weights with a header of 2^63": (holds(WEIGHTS, struct.pack("<Q", 1 << 63) + b"{}"), "weights"),
    "no weights": (without(WEIGHTS), "weights"),
    "weights that are a pickle of code": (pickled, "weights"),
}  # fmt: skip
GGUF = {
    "nothing": b"",
    "text": b"hello",
    "zeros": bytes(4096),
    "a header alone": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
    "2^60 tensors": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
    "version 99": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
    "a string of 2^62": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62) + b"a",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm")
    decoder("llama").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def refused(folder: Path, model: Path, words: str) -> None:
    before = {path: path.stat().st_size for path in folder.rglob("*")}
    done = hexaquant("llm", "quantize", model, "--context", "32", "--prompt", "8", "-o", folder / "out")
    done.assert_refused(2, words)
    assert {path: path.stat().st_size for path in folder.rglob("*")} == before


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_is_no_whole_model(
    what: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    change, words = FOLDERS[what]
    shutil.copytree(whole, tmp_path / "model")
    change(tmp_path / "model")
    refused(tmp_path, tmp_path / "model", words)


@pytest.mark.parametrize("what", GGUF)
def test_a_gguf_file_that_is_none(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "m.gguf").write_bytes(GGUF[what])
    refused(tmp_path, tmp_path / "m.gguf", "m.gguf")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "phi3", "gpt2"])
def test_a_whole_model_is_read(kind: str, tmp_path: Path) -> None:
    """The guards above find nothing in what transformers itself saves, with tied weights and without."""
    decoder(kind).save_pretrained(tmp_path)
    assert open_source(tmp_path, tokenizer()).eos == (2,)
