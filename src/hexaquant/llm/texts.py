"""Tokens to calibrate and to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hexaquant.core.errors import InputError
from hexaquant.llm.source import Source, quiet

QUESTIONS = (
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about the sea.",
    "List three prime numbers greater than ten.",
    "How do I boil an egg?",
    "Translate 'good morning' into Spanish and German.",
    "Write a Python function that adds two numbers.",
    "Who wrote Romeo and Juliet, and when?",
    "Give me a recipe for pancakes.",
    "What happened in the year 1969?",
    "Summarize the plot of Cinderella.",
    "What is 17 times 23?",
)
"""Asked where nobody gives a text: general matters, code, numbers and other languages in one."""


def chat_tokens(tokenizer: Any, turns: Sequence[str], bos: int) -> list[int]:
    """``turns`` (user, assistant, user ...) in the tokenizer's chat template, or joined where it has none.

    Without the token ``bos`` that Genie itself puts first; with_bos adds it where the network gets the tokens.
    """
    if getattr(tokenizer, "chat_template", None):
        text = _templated(tokenizer, turns)
    else:
        text = "".join(turns)
    tokens = [int(token) for token in tokenizer(text, add_special_tokens=False).input_ids]
    return tokens[1:] if bos >= 0 and tokens[:1] == [bos] else tokens


def _templated(tokenizer: Any, turns: Sequence[str]) -> str:
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def turn_texts(tokenizer: Any, bos: int) -> tuple[str, str, str]:
    """The chat template as text: before the first question, before a later one (with what ends the answer before it),
    behind each. Empty where there is none, or where it treats questions differently by what they say.

    Without the text of the token ``bos``, which Genie puts first itself.
    """
    if not getattr(tokenizer, "chat_template", None):
        return "", "", ""
    question = "hexaquantquestion"
    answer = "hexaquantanswer"
    later = "hexaquantlater"
    one = _templated(tokenizer, [question])
    three = _templated(tokenizer, [question, answer, later])
    first, _, end = one.partition(question)
    following = three.partition(answer)[2].partition(later)[0]
    if three.count(later) != 1 or not three.endswith(later + end):
        return "", "", ""
    if bos >= 0 and tokenizer.bos_token:
        first = first.removeprefix(tokenizer.bos_token)
    return first, following, end


def with_bos(tokens: Sequence[int], bos: int) -> list[int]:
    """``tokens`` as the network gets them."""
    return [bos, *tokens] if bos >= 0 else list(tokens)


def calibration_sequences(source: Source, data: str | Path | None, samples: int, length: int) -> list[list[int]]:
    """At most ``samples`` sequences of at most ``length`` tokens: of the text file ``data``, or questions with the
    model's own answers, so that decoding steps are seen too."""
    if data is not None:
        return text_sequences(source.tokenizer, source.bos, data, length)[:samples]
    found = []
    for index, question in enumerate(QUESTIONS[:samples]):
        prompt = with_bos(chat_tokens(source.tokenizer, [question], source.bos), source.bos)[: length // 2]
        found.append(prompt + _answer(source, prompt, length - len(prompt), seed=index))
    return found


def text_sequences(tokenizer: Any, bos: int, path: str | Path, length: int) -> list[list[int]]:
    """The text file ``path`` as sequences of ``length`` tokens (the last may be shorter, two tokens at least)."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text file {path} cannot be read ({error}); give a UTF-8 text file") from None
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    room = length - (bos >= 0)
    parts = [with_bos(tokens[start : start + room], bos) for start in range(0, len(tokens), room)]
    parts = [part for part in parts if len(part) > 1 + (bos >= 0)]
    if not parts:
        raise InputError(f"text file {path} holds {len(tokens)} tokens; give a longer text")
    return parts


def _answer(source: Source, prompt: Sequence[int], count: int, seed: int) -> list[int]:
    """The model's own words: sampled with a seed, for greedy ones repeat themselves."""
    if count < 1:
        return []
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        ids = torch.tensor([list(prompt)])
        found = source.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=True, top_k=50, temperature=1.0,
            pad_token_id=source.pad,
        )  # fmt: skip
    return [int(token) for token in np.asarray(found[0, len(prompt) :])]
