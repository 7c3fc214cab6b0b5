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
from hexaquant.cli.console import Console, bytes_text, number, table
from hexaquant.cli.option_groups import grouped
from hexaquant.core.errors import InputError, ThresholdMissed

HELP = "Language models: from a Hugging Face folder to text that Qualcomm's Genie speaks."
EPILOG = """Examples:

\b
  hexaquant llm deploy SmolLM2-135M-Instruct --target sm8650 --scheme w8a16 --context 1024 -o out
  hexaquant llm chat out"""

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Hugging Face folder, .gguf file, or name on the hub.")
]
RecipeOption = Annotated[
    str, typer.Option(help="decoder (rotated; below 8 bits rounded by outputs), plain, fast, best, or a .yaml file.")
]
EffortOption = Annotated[int, typer.Option(help="Effort of the compiler, 1 to 3.")]


@dataclass(frozen=True)
class Decoding:
    """How a language model is quantized."""

    target: o.TargetOption = o.DEFAULT_TARGET
    scheme: o.SchemeOption = "w8a16"
    size: Annotated[
        list[int] | None,
        typer.Option("--context", min=2, help="Tokens of prompt and answer together (1024); repeat for more lengths."),
    ] = None
    prompt: Annotated[int, typer.Option(min=1, help="Tokens that the prompt graph takes at once.")] = 64
    cache_bits: Annotated[int, typer.Option(help="Bits of keys and values in the cache: 8 or 16.")] = 8
    recipe: RecipeOption = "decoder"
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
        given["context"] = given.pop("size") or 1024
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


ReferenceOption = Annotated[
    str | None, typer.Option("--model", help="The FP32 network, where it is no longer where it was read from.")
]


def verify(
    context: typer.Context,
    out: o.FolderArgument,
    model: ReferenceOption = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Ask this; repeat for more (default: own questions).")
    ] = None,
    count: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of each answer at most.")] = 24,
    json: o.JsonOption = False,
) -> None:
    """The same prompts through FP32, simulation, our own loop on the target and Genie; exit 1 when they disagree."""
    console: Console = context.obj
    from hexaquant.llm import verify as run

    with console.events(out) as events:
        found = run(out, model=model, prompts=prompt, count=count, events=events)
    console.result(found, lambda: verify_table(found))
    if not found["passed"]:
        raise ThresholdMissed("Genie and our loop differ, or the target leaves FP32 where that is no near tie")


def evaluate(
    context: typer.Context,
    out: o.FolderArgument,
    data: Annotated[Path, typer.Option("--data", help="Text file to measure on.")],
    model: ReferenceOption = None,
    on: Annotated[list[str] | None, typer.Option(help="simulation, target; repeat for both (default: both).")] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Tokens of a sequence (default: the context).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first N sequences only.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once on the target (default: cores).")
    ] = None,
    max_perplexity: Annotated[float | None, typer.Option(help="Exit 1 when the target's perplexity is above.")] = None,
    json: o.JsonOption = False,
) -> None:
    """Perplexity, KL against FP32, same argmax, top-5 and SQNR of the logits over a text."""
    console: Console = context.obj
    from hexaquant.llm import evaluate as run

    who = on or ["simulation", "target"]
    with console.events(out) as events:
        found = run(out, data, model=model, who=who, length=length, limit=limit, workers=workers, events=events)
    console.result(found, lambda: figures_table(found))
    reached = found["figures"][who[-1]]["perplexity"]
    if max_perplexity is not None and (reached is None or reached > max_perplexity):
        raise ThresholdMissed(f"the perplexity on {who[-1]} is {reached}, above {max_perplexity:g}")


def verify_table(found: dict[str, Any]) -> Any:
    """A row for each prompt."""
    rows = []
    for row in found["prompts"]:
        genie = {None: "-", True: "same", False: "other"}[row["genie_is_loop"]]
        leaves = "-" if row["departure"] is None else f"token {row['departure']}"
        tie = "-" if row["margin"] is None else f"{100 * row['margin']:.2f} %"
        rows.append([row["prompt"], genie, leaves, tie, row["texts"]["loop"]])
    columns = ["prompt", "Genie", "leaves FP32 at", "FP32's margin there", "text on the target"]
    return table(f"{found['target']}, {found['count']} tokens", columns, rows)


def figures_table(found: dict[str, Any]) -> Any:
    """A row for each of FP32, simulation, target."""
    rows = [
        [who, f["tokens"], number(f["perplexity"], 3), number(f["kl"], 5), f"{100 * f['same_argmax']:.1f} %",
         f"{100 * f['top5']:.1f} %", number(f["logits_sqnr_db"], 1, " dB")]
        for who, f in found["figures"].items()
    ]  # fmt: skip
    columns = ["on", "tokens", "perplexity", "KL", "same argmax", "top 5", "logits SQNR"]
    return table(f"{found['text']}, sequences of {found['length']} tokens", columns, rows, right=(1, 2, 3, 4, 5, 6))


def _lines(console: Console) -> Any:
    if sys.stdin.isatty():
        console.say("Ask something; an empty line ends.")
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def _answer(console: Console, talk: Any, question: str) -> dict[str, Any]:
    start = time.perf_counter()
    pieces = []
    for piece in talk.ask(question):
        pieces.append(piece)
        if not console.json:
            console.out.write(piece)
            console.out.flush()
    seconds = time.perf_counter() - start
    count = len(talk.tokens)
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
     "  hexaquant llm deploy model.gguf --scheme w4a16 --data text.txt -o out\n"),
    ("quantize", quantize, "Examples:\n\n\b\n  hexaquant llm quantize MODEL --data text.txt -o out\n"),
    ("compile", compile_, "Examples:\n\n\b\n  hexaquant llm compile out\n"),
    ("verify", verify, "Examples:\n\n\b\n  hexaquant llm verify out\n  hexaquant llm verify out --prompt 'Hello'\n"),
    ("eval", evaluate, "Examples:\n\n\b\n  hexaquant llm eval out --data wiki.txt --limit 8\n"),
    ("chat", chat, "Examples:\n\n\b\n  hexaquant llm chat out\n  hexaquant llm chat out --prompt 'Hello' --limit 24\n"),
)  # fmt: skip
"""Name, function and epilog of each command."""
