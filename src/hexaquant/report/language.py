"""The report's section on a language model: perplexity, texts side by side, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hexaquant.report.headline import size_text
from hexaquant.report.sources import Sources

SECTION = "llm"
NAMES = {"fp32": "FP32", "simulation": "Simulation", "loop": "Target, own loop", "genie": "Target, Genie"}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Figures(_Document):
    """Of one of FP32, simulation, target, as ``llm eval`` keeps them."""

    tokens: int = 0
    perplexity: float | None = None
    kl: float | None = None
    same_argmax: float | None = None
    top5: float | None = None
    logits_sqnr_db: float | None = None


class Evaluation(_Document):
    text: str = ""
    length: int = 0
    figures: dict[str, Figures] = Field(default_factory=dict)


class Answer(_Document):
    """One prompt, as ``llm verify`` keeps it; ``margin``: FP32's where the target leaves it, of the logits' range."""

    prompt: str = ""
    texts: dict[str, str] = Field(default_factory=dict)
    departure: int | None = None
    margin: float | None = None


class Comparison(_Document):
    count: int = 0
    passed: bool = False
    prompts: list[Answer] = Field(default_factory=list)


class _Layer(_Document):
    heads: int
    key_width: int
    value_width: int


class _Form(_Document):
    layers: list[_Layer] = Field(default_factory=list)


class _Shapes(_Document):
    tokens: int
    context: int


class _Record(_Document):
    form: _Form = _Form()
    shapes: list[_Shapes] = Field(default_factory=list)
    cache_bits: int = 8


@dataclass(frozen=True)
class Said:
    """One answer: ``same`` as FP32 begins, ``other`` from where it departs."""

    who: str
    same: str
    other: str


@dataclass(frozen=True)
class Language:
    """``rows``: name and figures of each; ``answers``: prompt, what is to be said about it, who says what; ``sizes``:
    what and how large."""

    evaluation: Evaluation | None
    comparison: Comparison | None
    rows: tuple[tuple[str, Figures], ...]
    answers: tuple[tuple[str, str, tuple[Said, ...]], ...]
    sizes: tuple[tuple[str, str], ...]


def language(sources: Sources) -> tuple[Language | None, str]:
    """The section, None for a folder that holds no language model; and what is wrong where it cannot be read."""
    sections = sources.sections
    if not isinstance(sections.get(SECTION), Mapping):
        return None, ""
    try:
        record = _Record.model_validate(sections[SECTION])
        evaluation = Evaluation.model_validate(sections["llm eval"]) if "llm eval" in sections else None
        comparison = Comparison.model_validate(sections["llm verify"]) if "llm verify" in sections else None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        return None, f"the manifest's sections of the language model are damaged at {where}: run hexaquant llm again"
    figures = evaluation.figures if evaluation else {}
    rows = tuple((NAMES.get(who, who.capitalize()), found) for who, found in figures.items())
    answers = tuple(_answer(answer) for answer in comparison.prompts) if comparison else ()
    return Language(evaluation, comparison, rows, answers, tuple(_sizes(sources, record))), ""


def _answer(answer: Answer) -> tuple[str, str, tuple[Said, ...]]:
    reference = answer.texts.get("fp32", "")
    said = tuple(_said(NAMES[who], answer.texts[who], reference) for who in NAMES if who in answer.texts)
    told = "the target says what FP32 says"
    if answer.departure is not None:
        told = f"the target leaves FP32 at token {answer.departure}"
        if answer.margin is not None:
            told += f", where FP32's first two candidates are {100 * answer.margin:.2f} % of the logits' range apart"
    return answer.prompt, told, said


def _said(who: str, text: str, reference: str) -> Said:
    pairs = zip(text, reference, strict=False)
    common = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(text), len(reference)))
    return Said(who, text[:common], text[common:])


def _sizes(sources: Sources, record: _Record) -> list[tuple[str, str]]:
    manifest = sources.manifest
    assert manifest is not None
    found = []
    names = {f"model.{manifest.target}.bin": "binary for the device, weights shared", f"twin.{manifest.target}.bin":
             "its twin for the emulator"}  # fmt: skip
    for name, what in names.items():
        if name in manifest.files:
            found.append((f"{what} ({name})", size_text(manifest.files[name].bytes)))
    weights = sources.sections.get("quantization", {}).get("weight_bytes")
    if isinstance(weights, int):
        found.append(("weights and constants", size_text(weights)))
    if record.shapes:
        context = max(shapes.context for shapes in record.shapes)
        columns = sum(layer.heads * (layer.key_width + layer.value_width) for layer in record.form.layers)
        title = f"cache of keys and values, {record.cache_bits} bits, {context} tokens"
        found.append((title, size_text(columns * context * record.cache_bits // 8)))
    return found


def figure_texts(found: Figures) -> dict[str, Any]:
    """The figures as the page shows them, "" for what is not there."""
    shares = {name: getattr(found, name) for name in ("same_argmax", "top5")}
    texts = {name: "" if value is None else f"{100 * value:.1f} %" for name, value in shares.items()}
    texts["tokens"] = f"{found.tokens:,}"
    texts["perplexity"] = "" if found.perplexity is None else f"{found.perplexity:.4g}"
    texts["kl"] = "" if found.kl is None else f"{found.kl:.4f}"
    texts["sqnr"] = "" if found.logits_sqnr_db is None else f"{found.logits_sqnr_db:.1f} dB"
    return texts
