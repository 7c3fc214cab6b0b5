"""Where a language model comes from: a Hugging Face folder, a GGUF file, a name on the hub, or a module in memory."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError
from hexaquant.core.text_file import read_json

MEMORY_PER_PARAMETER = 43
"""Bytes of the largest process: 5.74 GB (ru_maxrss of llm.quantize, reached before calibration, while the prompt graph
is traced and rotated) for the 134.5 million parameters of SmolLM2-135M-Instruct, w8a16, context 256, chunks of 32."""
SIZES = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_attention_heads", "n_head"), 1024),
    **dict.fromkeys(("hidden_size", "n_embd", "vocab_size"), 1 << 20),
}
"""Key of config.json -> the largest count that is taken: transformers builds a module for each layer before it looks at
the weights."""


@dataclass(frozen=True)
class Source:
    """``model``: a causal language model of transformers in float32, eval mode; ``tokenizer``: its fast tokenizer.

    ``name``: for people; ``path``: from which it can be read again, empty for a module in memory.
    """

    model: Any
    tokenizer: Any
    name: str
    path: str = ""

    @property
    def eos(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        config = getattr(self.model, "generation_config", None)
        found = getattr(config, "eos_token_id", None)
        found = self.tokenizer.eos_token_id if found is None else found
        return tuple(found) if isinstance(found, list | tuple) else () if found is None else (int(found),)

    @property
    def pad(self) -> int:
        """What fills up a chunk; any token does, for nothing looks at it."""
        found = self.tokenizer.pad_token_id
        return int(found) if found is not None else (self.eos or (0,))[0]

    @property
    def bos(self) -> int:
        """The token that the tokenizer puts before every text, -1 where it puts none."""
        tokens = self.tokenizer("a").input_ids
        first = self.tokenizer.bos_token_id
        return int(first) if first is not None and tokens[:1] == [first] else -1


def open_source(model: Any, tokenizer: Any = None) -> Source:
    """The language model ``model``: a module (then with ``tokenizer``), a folder, a .gguf file, or a name on the hub.

    Raises InputError naming what is missing or does not fit, EnvironmentLacksError without the extra [llm] or enough
    memory.
    """
    _require_transformers()
    if hasattr(model, "forward") and hasattr(model, "config"):
        if tokenizer is None:
            raise InputError("a module in memory needs its tokenizer: give tokenizer=...")
        source = Source(model.eval().float(), tokenizer, type(model).__name__)
    else:
        source = _read(str(model), tokenizer)
    _check_vocabulary(source)
    _check_template(source)
    return source


def _require_transformers() -> None:
    try:
        import tokenizers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise EnvironmentLacksError(f"language models need {error.name}: pip install 'hexaquant[llm]'") from None


def _read(text: str, tokenizer: Any) -> Source:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, options = _place(text)
    if Path(folder).is_dir():
        _require_memory(Path(folder), options)
    part = "its tokenizer"
    try:
        with quiet():
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
            part = "its configuration and weights"
            found: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype="float32", output_loading_info=True, trust_remote_code=False, **options
            )
            model, loaded = found
    except ImportError as error:
        raise EnvironmentLacksError(f"{text}: {_line(error)}; pip install 'hexaquant[llm]'") from error
    except HexaquantError:
        raise
    except Exception as error:
        raise InputError(f"{text} cannot be read as a language model, {part}: {_line(error)}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{text} has no tokenizer.json (a fast tokenizer), which Genie needs; convert its tokenizer")
    _require_all_weights(text, model, loaded)
    where = str(Path(text).resolve()) if Path(text).exists() else text
    return Source(model.eval(), tokenizer, Path(text).name, where)


def _require_all_weights(text: str, model: Any, loaded: Mapping[str, Any]) -> None:
    """Raise InputError where transformers would fill up weights at random, or leave out layers, and only log it."""
    if missing := sorted(loaded.get("missing_keys", ())):
        raise InputError(
            f"{text} holds no weights for '{missing[0]}' and {len(missing) - 1} more that its configuration asks for; "
            "the files do not belong together, get the model again"
        )
    own = f"{model.base_model_prefix}."
    if left := sorted(key for key in loaded.get("unexpected_keys", ()) if key.startswith(own)):
        raise InputError(
            f"{text} holds '{left[0]}' and {len(left) - 1} more weights that its configuration has no place for; "
            "the files do not belong together, get the model again"
        )


def _place(text: str) -> tuple[str, dict[str, Any]]:
    """(folder or hub name, options of from_pretrained)."""
    path = Path(text)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise InputError(f"{text} is neither a folder nor a .gguf file; give the folder that holds config.json")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        if (path / "config.json").is_file():
            return text, {}
        if len(found) == 1:
            return text, {"gguf_file": found[0].name}
        raise InputError(f"{text} holds no config.json{' and several .gguf files' if found else ''}: give the model's "
                         "folder, or one .gguf file")  # fmt: skip
    if text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise InputError(f"{text} does not exist; give a folder, a .gguf file, or a name on the hub like owner/name")
    return text, {}


def _require_memory(folder: Path, options: dict[str, Any]) -> None:
    """Raise EnvironmentLacksError before anything is read when the work would not fit."""
    name = options.get("gguf_file")
    if name is not None:
        bits = 5.0 if "q4" in name.lower() else 9.0 if "q8" in name.lower() else 16.0
        parameters = (folder / name).stat().st_size * 8 / bits
    else:
        for other in ("generation_config.json", "tokenizer_config.json"):
            if (folder / other).is_file():
                read_json(folder / other, "model configuration")  # transformers passes over what it cannot read
        files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
        dtype = str(_configuration(folder / "config.json").get("dtype", "float32"))
        parameters = sum(file.stat().st_size for file in files) / (2 if "16" in dtype else 4)
    need = parameters * MEMORY_PER_PARAMETER
    there = _available()
    if there is not None and need > there:
        raise EnvironmentLacksError(
            f"{folder} has about {parameters / 1e6:.0f} million parameters, which take {need / 2**30:.0f} GiB of "
            f"memory to quantize; {there / 2**30:.0f} GiB are free: close other programs, or use a larger machine"
        )


def _configuration(path: Path) -> Mapping[str, Any]:
    """``config.json``. Raises InputError where it is no object, or has no layer."""
    content = read_json(path, "model configuration")
    if not isinstance(content, dict):
        raise InputError(f"{path} is no object of JSON; give the model's own config.json")
    for key, most in SIZES.items():
        size = content.get(key, 1)
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= most:
            raise InputError(f"{path}: {key} is {size!r}; give the number of the model's own config.json")
    return content


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _check_vocabulary(source: Source) -> None:
    size = int(source.model.config.vocab_size)
    tokens = len(source.tokenizer)
    if tokens > size:
        raise InputError(
            f"{source.name}: the tokenizer has {tokens} tokens but the network knows {size}: they do not belong "
            "together"
        )


def _check_template(source: Source) -> None:
    """Raises InputError where the chat template (jinja, which transformers runs in its sandbox) does not work."""
    if not getattr(source.tokenizer, "chat_template", None):
        return
    try:
        with quiet():
            source.tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    except Exception as error:
        raise InputError(f"{source.name}: its chat template does not work: {_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers shows no progress bars, log lines and prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    from transformers.utils import logging as hf_logging

    enabled = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        if enabled:
            hf_logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "ignore_mismatched_sizes" in lines[0]:
        return "its weights have other shapes than its configuration says"
    more = lines[1] if len(lines) > 1 and lines[0].endswith(":") else ""
    return f"{lines[0]} {more}".rstrip() if lines else type(error).__name__
