"""llm verify: the same prompts through FP32, the simulation, our own loop on the target and Genie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.text_file import read_json
from hexaquant.folder.manifest import amend_manifest
from hexaquant.llm.chat import own_tokenizer
from hexaquant.llm.folder import FP32, genie_document
from hexaquant.llm.genie import Genie
from hexaquant.llm.genie_config import CONFIG, differences
from hexaquant.llm.measures import margin
from hexaquant.llm.record import Record, open_llm
from hexaquant.llm.runners import SimulatedLoop, float_greedy, greedy, target_loop
from hexaquant.llm.source import Source, open_source
from hexaquant.llm.texts import QUESTIONS, chat_tokens, with_bos

NEAR = 0.01
"""FP32's margin, as a part of its logits' range, below which another token is a near tie and no error."""


def verify(
    out: str | Path,
    *,
    model: Any = None,
    prompts: Sequence[str] | None = None,
    count: int = 24,
    genie: bool = True,
    events: Events | None = None,
) -> dict[str, Any]:
    """Ask ``prompts`` (default: QUESTIONS) in the chat template, ``count`` tokens each, and compare who says what.

    ``model``: the FP32 network where it is no longer where it was read from. The result is kept in the manifest.
    "passed": Genie says what our loop says, and the target leaves FP32 only where that is a near tie; raises InputError
    before anything runs where genie_config.json is not what the network needs.
    """
    log = events or Events()
    folder, record = open_llm(out)
    source = fp32_source(folder, record, model)
    check_configuration(folder, record, source)
    asked = list(prompts or QUESTIONS[:4])
    tokens = [with_bos(chat_tokens(source.tokenizer, [text], record.bos), record.bos) for text in asked]
    _require_room(asked, tokens, count, record)
    said = _all_say(folder, record, source, tokens, count, genie, log)
    rows = [_row(text, index, said, source) for index, text in enumerate(asked)]
    passed = all(row["genie_is_loop"] is not False and row["near_tie"] is not False for row in rows)
    result = {"folder": str(folder), "target": record.target, "count": count, "passed": passed, "prompts": rows}
    amend_manifest(folder, sections={"llm verify": result})
    return result


def fp32_source(folder: Path, record: Record, model: Any = None) -> Source:
    """The FP32 network of ``folder``. Raises InputError where it cannot be read any more."""
    if model is not None and hasattr(model, "forward"):
        return open_source(model, own_tokenizer(folder))
    where = str(model) if model is not None else record.source
    inside = model is None and where == FP32
    try:
        return open_source(folder / where, own_tokenizer(folder)) if inside else open_source(where)
    except InputError as error:
        raise InputError(f"the FP32 network is needed to compare with: {error} (--model says where it is)") from None


def check_configuration(folder: Path, record: Record, source: Source) -> None:
    """Raise InputError naming what genie_config.json has otherwise than the network needs.

    Genie takes a wrong theta, vocabulary or width in silence.
    """
    found = read_json(folder / CONFIG, "Genie configuration")
    wanted = genie_document(record, source)
    wanted["dialog"] = {key: value for key, value in wanted["dialog"].items() if key != "sampler"}  # type: ignore[attr-defined]
    told = differences(found, wanted)
    if told:
        raise InputError(f"{folder / CONFIG}: {'; '.join(told)}: write it again with hexaquant llm quantize --force")


def _require_room(texts: Sequence[str], tokens: Sequence[Sequence[int]], count: int, record: Record) -> None:
    for text, one in zip(texts, tokens):
        if len(one) + count > record.context:
            raise InputError(
                f"the prompt '{text[:40]}' has {len(one)} tokens; with {count} more they do not fit the context of "
                f"{record.context}"
            )


def _all_say(
    folder: Path, record: Record, source: Source, tokens: Sequence[list[int]], count: int, genie: bool, log: Events
) -> dict[str, list[Any]]:
    """Tokens by who says them, a list for each prompt; "logits": those that FP32 chose from."""
    said: dict[str, list[Any]] = {"fp32": [], "logits": [], "simulation": [], "loop": [], "genie": []}
    simulation = SimulatedLoop(folder, record)
    for prompt in log.track(tokens, "fp32 and simulation"):
        found, logits = float_greedy(source.model, prompt, count, record.eos)
        said["fp32"].append(found)
        said["logits"].append(logits)
        said["simulation"].append(greedy(simulation, prompt, count, record.eos))
    with target_loop(folder, record) as loop:
        said["loop"] += [list(greedy(loop, prompt, count, record.eos)) for prompt in log.track(tokens, "target")]
    if genie:
        with Genie(folder) as dialog:
            for prompt in log.track(tokens, "genie"):
                dialog.reset()
                said["genie"].append(list(dialog.tokens(_without_bos(prompt, record), count)))
    return said


def _without_bos(prompt: Sequence[int], record: Record) -> Sequence[int]:
    """Genie puts it first itself."""
    return prompt[1:] if record.bos >= 0 else prompt


def _row(text: str, index: int, said: dict[str, list[Any]], source: Source) -> dict[str, Any]:
    tokens = {who: said[who][index] for who in ("fp32", "simulation", "loop", "genie") if said[who]}
    first = first_departure(tokens["loop"], tokens["fp32"])
    logits = said["logits"][index]
    tie = None if first is None or first >= len(logits) else margin(logits[first])
    return {
        "prompt": text,
        "tokens": tokens,
        "texts": {who: source.tokenizer.decode(found) for who, found in tokens.items()},
        "genie_is_loop": tokens["genie"] == tokens["loop"] if "genie" in tokens else None,
        "departure": first,
        "simulation_departure": first_departure(tokens["simulation"], tokens["fp32"]),
        "margin": tie,
        "near_tie": None if tie is None else tie < NEAR,
    }


def first_departure(found: Sequence[int], expected: Sequence[int]) -> int | None:
    """Position of the first token that differs (one list being longer is a difference, too); None for equal ones."""
    for index, (a, b) in enumerate(zip(found, expected)):
        if a != b:
            return index
    return None if len(found) == len(expected) else min(len(found), len(expected))
