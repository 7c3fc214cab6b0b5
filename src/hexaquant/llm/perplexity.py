"""llm eval: perplexity and distance from FP32 over a text, in chunks through the prompt graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.text_file import read_json
from hexaquant.folder.manifest import amend_manifest, read_manifest
from hexaquant.llm.ahead import Ahead
from hexaquant.llm.compare import fp32_source
from hexaquant.llm.measures import Logits, Tally
from hexaquant.llm.record import open_llm
from hexaquant.llm.runners import LogitsOf, SimulatedLoop, float_logits, logits_of, target_loop
from hexaquant.llm.texts import text_sequences
from hexaquant.qnn.runtime import default_workers

STATE = ".state/llm_eval.json"
WHO = ("fp32", "simulation", "target")


def evaluate(
    out: str | Path,
    text: str | Path,
    *,
    model: Any = None,
    who: Sequence[str] = WHO,
    length: int | None = None,
    limit: int | None = None,
    workers: int | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Figures over the text file ``text`` for FP32 and each of ``who`` (simulation, target), kept in the manifest.

    The text is cut into sequences of ``length`` tokens (default: the context), each read from an empty cache; of these
    the first ``limit``; ``workers`` of them at once on the target (default: one for each core). What was measured
    before the run was interrupted, or with a lower limit, is not measured again.
    """
    log = events or Events()
    folder, record = open_llm(out)
    unknown = set(who) - set(WHO)
    if unknown:
        raise InputError(f"--on {min(unknown)} does not exist; give {', '.join(WHO)}")
    source = fp32_source(folder, record, model)
    size = record.context if length is None else length
    if not 2 <= size <= record.context:
        raise InputError(f"sequences of {size} tokens do not fit: give 2 to {record.context}")
    every = text_sequences(source.tokenizer, record.bos, text, size)
    sequences = every[:limit]
    key = _key(folder, every)
    tallies = _load(folder, key, len(sequences))
    with ExitStack() as stack:
        others: dict[str, LogitsOf] = {}
        if "simulation" in who:
            others["simulation"] = logits_of(SimulatedLoop(folder, record))
        if "target" in who:
            left = sequences[tallies.get("target", _empty())["sequences"] :]
            count = max(min(workers or default_workers(), len(left)), 1)
            loops = [stack.enter_context(target_loop(folder, record)) for _ in range(count)]
            others["target"] = stack.enter_context(Ahead(loops, left))
        for index, tokens in enumerate(log.track(sequences, "eval")):
            _measure(index, tokens, float_logits(source.model), others, tallies)
            _save(folder, key, tallies)
    result = _result(str(text), size, sequences, tallies, ("fp32", *others))
    amend_manifest(folder, sections={"llm eval": result})
    return {"folder": str(folder), **result}


def _measure(
    index: int, tokens: Sequence[int], reference: LogitsOf, others: dict[str, LogitsOf], tallies: dict[str, Any]
) -> None:
    """Add sequence ``index`` to every tally that has not seen it."""
    todo = {name: run for name, run in others.items() if index >= tallies.setdefault(name, _empty())["sequences"]}
    fresh = index >= tallies.setdefault("fp32", _empty())["sequences"]
    pairs = [name for name in ("simulation", "target") if name in others]
    both = "simulation against target"
    if not todo and not fresh:
        return
    expected = reference(tokens)
    found: dict[str, Logits] = {"fp32": expected} if fresh else {}
    found |= {name: run(tokens) for name, run in todo.items()}
    following = np.asarray(tokens[1:], np.int64)
    for name, logits in found.items():
        _add(tallies[name], expected, logits, following)
    if len(pairs) == 2 and set(pairs) <= set(found):
        _add(tallies.setdefault(both, _empty()), found["simulation"], found["target"], following)


def _empty() -> dict[str, Any]:
    return {"sequences": 0, "tally": Tally().to_json()}


def _add(entry: dict[str, Any], expected: Logits, logits: Logits, following: Any) -> None:
    tally = Tally.from_json(entry["tally"])
    tally.add(expected, logits, following)
    entry["tally"], entry["sequences"] = tally.to_json(), entry["sequences"] + 1


def _key(folder: Path, sequences: Sequence[Sequence[int]]) -> str:
    """Of the text and of the files that are measured."""
    files = {
        name: entry.sha256 for name, entry in read_manifest(folder).files.items() if name.endswith((".onnx", ".bin"))
    }
    return hashlib.sha256(json.dumps([files, list(sequences)], sort_keys=True).encode()).hexdigest()


def _load(folder: Path, key: str, limit: int) -> dict[str, Any]:
    """The tallies of an earlier run over the same text, of ``limit`` sequences at most; {} where there are none."""
    if not (folder / STATE).is_file():
        return {}
    try:
        kept = read_json(folder / STATE, "state")
        tallies = dict(kept["tallies"]) if kept["key"] == key else {}
        return {} if any(entry["sequences"] > limit for entry in tallies.values()) else tallies
    except (InputError, KeyError, TypeError):
        return {}


def _save(folder: Path, key: str, tallies: dict[str, Any]) -> None:
    write_text(folder / STATE, json.dumps({"key": key, "tallies": tallies}))


def _result(
    text: str, size: int, sequences: Sequence[Sequence[int]], tallies: dict[str, Any], who: Sequence[str]
) -> dict[str, Any]:
    names = [*who, *(["simulation against target"] if {"simulation", "target"} <= set(who) else [])]
    return {
        "text": text,
        "length": size,
        "sequences": len(sequences),
        "tokens": sum(map(len, sequences)),
        "figures": {name: Tally.from_json(tallies[name]["tally"]).figures() for name in names if name in tallies},
    }
