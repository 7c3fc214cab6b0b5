"""The static decoder computes what transformers computes, chunk by chunk, whatever the architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.llm.encodings import Decoder, describe
from hexaquant.llm.feeds import Cache, feed
from hexaquant.llm.static_decoder import StaticDecoder
from llm.tiny import OF, SCALED, decoder, scaled_llama, tokens


def logits_in_chunks(made: Decoder, sequence: list[int]) -> np.ndarray:
    """Logits of ``sequence`` through the prompt graph's module, those of the rest through the token graph's."""
    cache, found, start = Cache(made.form, made.shapes[0].context), [], 0
    modules = {shapes: StaticDecoder(made.model, shapes, made.form.positions, made.form.mask) for shapes in made.shapes}
    while start < len(sequence):
        shapes = made.shapes[0] if len(sequence) - start >= made.shapes[0].tokens else made.shapes[-1]
        part = sequence[start : start + shapes.tokens]
        inputs = feed(made.form, made.rope, shapes, part, cache)
        with torch.no_grad():
            outputs = modules[shapes](*[torch.as_tensor(inputs[name]) for name in made.form.input_names()])
        named = {name: tensor.numpy() for name, tensor in zip(made.form.output_names(), outputs)}
        cache.append(named, len(part))
        found.append(named["logits"][0, : len(part)])
        start += len(part)
    return np.concatenate(found)


def assert_same(model: Any, context: int = 64, prompt: int = 8) -> Decoder:
    made = describe(model, context, prompt)
    sequence = tokens(43)
    with torch.no_grad():
        expected = model(torch.tensor([sequence])).logits[0].numpy()
    np.testing.assert_allclose(logits_in_chunks(made, sequence), expected, atol=1e-4 * np.abs(expected).max())
    return made


@pytest.mark.parametrize("kind", [kind for kind in OF if kind != "stablelm"] + ["gpt2"])
def test_logits_are_those_of_transformers(kind: str) -> None:
    assert_same(decoder(kind))


@pytest.mark.parametrize("kind", SCALED)
def test_scaled_rotary_embeddings(kind: str) -> None:
    made = assert_same(scaled_llama(kind))
    # Genie's own numbers are known for Llama 3's scaling; "dynamic" changes nothing up to the original length
    assert (made.rope is not None) == (kind in ("llama3", "dynamic"))


def test_a_sliding_window_hides_what_left_it() -> None:
    """Not the same as without: otherwise the test above would show nothing."""
    with_window, without = decoder("mistral"), decoder("mistral", sliding_window=None)
    sequence = torch.tensor([tokens(43)])
    assert not torch.allclose(with_window(sequence).logits, without(sequence).logits, atol=1e-2)
    assert describe(with_window, 64, 8).rope is None  # positions are needed to know what left
    assert describe(without, 64, 8).rope is not None


def test_chunks_longer_than_the_window_are_refused() -> None:
    with pytest.raises(InputError, match="longer than the sliding window of 16: give --prompt 16"):
        assert_same(decoder("mistral"), prompt=32)


def test_an_architecture_without_the_attention_interface_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="StableLm"):
        describe(decoder("stablelm"), 64, 8)


@pytest.mark.parametrize(("context", "prompt", "words"), [(64, 64, "give 1 to 63"), (512, 8, "knows 256 positions")])
def test_sizes_that_do_not_fit_are_refused(context: int, prompt: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        describe(decoder("llama"), context, prompt)
