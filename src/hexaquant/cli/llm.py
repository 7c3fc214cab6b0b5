"""``hexaquant llm ...``: language models for Qualcomm's Genie."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text, table
from hexaquant.cli.option_groups import grouped
from hexaquant.core.errors import InputError

HELP = "Language models: from a Hugging Face folder to text that Qualcomm's Genie speaks."
EPILOG = """Examples:

\b
  hexaquant llm deploy SmolLM2-135M-Instruct --target sm8650 --scheme w8a16 --context 1024 -o out
  hexaquant llm chat out"""

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Hugging Face folder, .gguf file, or name on the hub.")
]
EffortOption = Annotated[int, typer.Option(help="Effort of the compiler, 1 to 3.")]


@dataclass(frozen=True)
class Decoding:
    """How a language model is quantized."""

    target: o.TargetOption = o.DEFAULT_TARGET
    scheme: o.SchemeOption = "w8a16"
    size: Annotated[int, typer.Option("--context", min=2, help="Tokens of prompt and answer together.")] = 1024
    prompt: Annotated[int, typer.Option(min=1, help="Tokens that the prompt graph takes at once.")] = 64
    cache_bits: Annotated[int, typer.Option(help="Bits of keys and values in the cache: 8 or 16.")] = 8
    recipe: o.RecipeOption = "plain"
    overrides: o.OverridesOption = None
    data: Annotated[Path | None, typer.Option("--data", help="Text file to calibrate on (default: own questions).")] = (
        None
    )
    samples: Annotated[int, typer.Option(min=1, help="Sequences to calibrate on.")] = 8
    length: Annotated[int, typer.Option(min=2, help="Tokens of each.")] = 128

    def value(self) -> dict[str, Any]:
        """As hq.llm.quantize takes it, checked."""
        if self.cache_bits not in (8, 16):
            raise InputError(f"--cache-bits {self.cache_bits} does not exist; give 8 or 16")
        from hexaquant.sim.overrides import read_overrides

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["context"] = given.pop("size")
        given["overrides"] = None if self.overrides is None else dict(read_overrides(self.overrides))
        return given


@grouped
def deploy(
    context: typer.Context,
    model: ModelArgument,
    out: o.OutOption,
    how: Decoding = Decoding(),
    o_level: EffortOption = 3,
    force: o.ForceOption = False,
    json: o.JsonOption = False,
) -> None:
    """Quantize and compile a language model: graphs, one binary, tokenizer and Genie's configuration."""
    console: Console = context.obj
    _check_effort(o_level)
    from hexaquant.llm.pipeline import deploy as run

    with console.events(out) as events:
        found = run(model, out, o_level=o_level, force=force, events=events, **how)  # type: ignore[arg-type]
    console.result(found, lambda: files_table(found))


@grouped
def quantize(
    context: typer.Context,
    model: ModelArgument,
    out: o.OutOption,
    how: Decoding = Decoding(),
    force: o.ForceOption = False,
    json: o.JsonOption = False,
) -> None:
    """Quantize a language model; nothing is compiled."""
    console: Console = context.obj
    from hexaquant.llm.pipeline import quantize as run

    with console.events(out) as events:
        found = run(model, out, force=force, events=events, **how)  # type: ignore[arg-type]
    console.result(found, lambda: files_table(found))


def compile_(
    context: typer.Context,
    out: o.FolderArgument,
    o_level: EffortOption = 3,
    force: o.ForceOption = False,
    json: o.JsonOption = False,
) -> None:
    """Lower and compile what llm quantize wrote."""
    console: Console = context.obj
    _check_effort(o_level)
    from hexaquant.llm.pipeline import compile_folder

    with console.events(out) as events:
        found = compile_folder(out, o_level=o_level, force=force, events=events)
    console.result(found, lambda: files_table(found))


def chat(
    context: typer.Context,
    out: o.FolderArgument,
    prompt: Annotated[
        str | None, typer.Option(help="Ask this and end; otherwise every line of stdin is asked.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 128,
    json: o.JsonOption = False,
) -> None:
    """Talk with the model on this PC, through Genie on Qualcomm's emulator."""
    console: Console = context.obj
    from hexaquant.llm.chat import Chat
    from hexaquant.llm.genie import Genie

    with Genie(out) as genie:
        talk = Chat(out, genie, limit)
        answers = []
        for question in [prompt] if prompt is not None else _lines(console):
            answers.append(_answer(console, talk, question))
    if console.json:
        console.result({"folder": str(out), "genie": genie.version, "answers": answers})


def _lines(console: Console) -> Any:
    if sys.stdin.isatty():
        console.say("Ask something; an empty line ends.")
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def _answer(console: Console, talk: Any, question: str) -> dict[str, Any]:
    start, pieces = time.perf_counter(), []
    for piece in talk.ask(question):
        pieces.append(piece)
        if not console.json:
            console.out.write(piece)
            console.out.flush()
    seconds, count = time.perf_counter() - start, len(talk.tokens)
    if not console.json:
        console.out.write("\n")
    console.say(f"{count} tokens, {count / seconds:.2f} tokens a second of the emulator (not of a device)")
    return {"prompt": question, "text": "".join(pieces), "tokens": count, "emulator_seconds": round(seconds, 3)}


def _check_effort(o_level: int) -> None:
    if o_level not in (1, 2, 3):
        raise InputError(f"--o-level {o_level} does not exist; give 1, 2 or 3")


def files_table(document: dict[str, Any]) -> Any:
    rows = [[entry["path"], bytes_text(entry["bytes"])] for entry in document["files"].values()]
    title = f"{document['name']}, {document['scheme']} for {document['target']}, context {document['context']}"
    return table(title, ["file", "size"], rows, right=(1,))


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("deploy", deploy, "Examples:\n\n\b\n  hexaquant llm deploy MODEL --target sm8650 --context 1024 -o out\n"
     "  hexaquant llm deploy model.gguf --scheme w8a16 --recipe rotated.yaml -o out\n"),
    ("quantize", quantize, "Examples:\n\n\b\n  hexaquant llm quantize MODEL --data text.txt -o out\n"),
    ("compile", compile_, "Examples:\n\n\b\n  hexaquant llm compile out\n"),
    ("chat", chat, "Examples:\n\n\b\n  hexaquant llm chat out\n  hexaquant llm chat out --prompt 'Hello' --limit 24\n"),
)  # fmt: skip
"""Name, function and epilog of each command."""
