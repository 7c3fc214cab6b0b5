"""A conversation with a folder's language model, through Genie on this PC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.llm.folder import OWN_TOKENIZER
from hexaquant.llm.genie import Genie
from hexaquant.llm.record import open_llm
from hexaquant.llm.source import quiet
from hexaquant.llm.texts import chat_tokens


def own_tokenizer(folder: Path) -> Any:
    """The tokenizer with its chat template. Raises InputError when the folder lost it."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder / OWN_TOKENIZER)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / OWN_TOKENIZER} cannot be read ({error}): quantize the model again") from None


class Chat:
    """Turns of a user and of the model. Each turn is asked with all before it, the oldest dropped when room is short.

    ``limit``: tokens of an answer at most.
    """

    def __init__(self, folder: str | Path, genie: Genie, limit: int = 128) -> None:
        self.folder, self.record = open_llm(folder)
        self.genie = genie
        self.limit = limit
        self.tokenizer = own_tokenizer(self.folder)
        self.turns: list[str] = []
        self.tokens: list[int] = []

    def ask(self, text: str) -> Iterator[str]:
        """The answer in pieces of text as they come; the conversation goes on with it."""
        prompt = self._prompt(text)
        self.genie.reset()
        self.tokens = []
        shown = ""
        room = min(self.limit, self.record.context - len(prompt) - 1)
        for token in self.genie.tokens(prompt, room):
            if token in self.record.eos:
                continue
            self.tokens.append(token)
            now = self.tokenizer.decode(self.tokens)
            if now.endswith("\ufffd"):
                continue  # the rest of the character is still to come
            yield now[len(shown) :]
            shown = now
        self.turns += [text, shown]

    def _prompt(self, text: str) -> list[int]:
        """The tokens of the conversation and ``text``; an answer has a quarter of the context at least."""
        turns: Sequence[str] = [*self.turns, text]
        while True:
            tokens = chat_tokens(self.tokenizer, turns, self.record.bos)
            if len(tokens) <= self.record.context * 3 // 4:
                self.turns = list(turns[:-1])
                return tokens
            if len(turns) == 1:
                raise InputError(f"the text has {len(tokens)} tokens; the context holds {self.record.context}")
            turns = turns[2:]
