"""Encoders with decoders go the general way: two networks, the cache tied, and a decoding loop on the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration, WhisperConfig, WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

import hexaquant as hq

STEPS = 16
PAST = 20
"""Tokens that the decoder's own cache holds; the newest stand on the right, what falls out on the left is gone."""
VOCABULARY, WIDTH, HEADS, LAYERS = 320, 64, 4, 2
HIDDEN = -50.0
START = 1
NEAR = 0.05
"""Margin of a near tie: random weights quantize worse than trained ones, as in test_genie.py."""
Feed = dict[str, np.ndarray]
Run = Callable[[Feed], Any]


class Encoder(nn.Module):
    """The encoder, and what each layer of the decoder makes of its answer: keys and values of the cross attention."""

    def __init__(self, stack: nn.Module, projections: list[nn.Module]) -> None:
        super().__init__()
        self.stack, self.projections = stack, nn.ModuleList(projections)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        seen = self.stack(x).last_hidden_state
        return tuple(p(seen).reshape(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for p in self.projections)


class Decoder(nn.Module):
    """One token, its position or none, a mask, and both caches; logits and the own cache with the token in it."""

    def __init__(self, stack: nn.Module, head: nn.Module, source: int, has_positions: bool) -> None:
        super().__init__()
        self.stack, self.head, self.has_positions = stack, head, has_positions
        self.register_buffer("answer", torch.zeros(1, source, WIDTH))

    def forward(self, ids: Tensor, mask: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        more = {"position_ids": rest[0]} if self.has_positions else {}
        cache = rest[len(more) :]
        past = EncoderDecoderCache(filled(cache[: 2 * LAYERS]), filled(cache[2 * LAYERS :]))
        found = self.stack(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=self.answer,
            past_key_values=past,
            use_cache=True,
            **more,
        )
        own = [t[:, :, 1:] for layer in past.self_attention_cache.layers for t in (layer.keys, layer.values)]
        return self.head(found.last_hidden_state), *own


def filled(tensors: tuple[Tensor, ...]) -> DynamicCache:
    made = DynamicCache()
    for index in range(LAYERS):
        made.update(tensors[2 * index], tensors[2 * index + 1], index)
    return made


class Network:
    """A model of transformers with its two parts, and how FP32 itself goes on after tokens."""

    def __init__(self, model: Any, encoder: Encoder, decoder: Decoder, samples: list[np.ndarray]) -> None:
        self.model, self.encoder, self.decoder, self.samples = model.eval(), encoder.eval(), decoder.eval(), samples
        self.names = ["ids", "mask", *(["position"] if decoder.has_positions else [])]
        self.own = [f"own_{index}" for index in range(2 * LAYERS)]
        self.cross = [f"cross_{index}" for index in range(2 * LAYERS)]

    def fp32(self, x: np.ndarray, tokens: list[int]) -> Tensor:
        """Logits of the next token, all recomputed, by transformers' own forward."""
        with torch.no_grad():
            ids = torch.tensor([tokens])
            return self.model(torch.from_numpy(x), decoder_input_ids=ids).logits[0, -1]


def whisper() -> Network:
    config = WhisperConfig(
        vocab_size=VOCABULARY, num_mel_bins=16, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=128, decoder_ffn_dim=128,
        max_source_positions=24, max_target_positions=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=START,
    )  # fmt: skip
    model = speaking(WhisperForConditionalGeneration(config))
    layers = model.model.decoder.layers
    projections = [p for layer in layers for p in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)]
    decoder = Decoder(model.model.decoder, model.proj_out, 24, has_positions=True)
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(1, 16, 48)).astype(np.float32) for _ in range(6)]
    return Network(model, Encoder(model.model.encoder, projections), decoder, samples)


def t5() -> Network:
    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=128, num_layers=LAYERS, num_heads=HEADS,
        relative_attention_num_buckets=8, relative_attention_max_distance=16, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, decoder_start_token_id=START,
    )  # fmt: skip
    model = speaking(T5ForConditionalGeneration(config))
    with torch.no_grad():  # its scores are not scaled: queries are small instead, as T5 is initialized
        for name, parameter in model.named_parameters():
            parameter.mul_((WIDTH // HEADS) ** -0.5 if name.endswith(".q.weight") else 1)
    attentions = [block.layer[1].EncDecAttention for block in model.decoder.block]
    projections = [p for attention in attentions for p in (attention.k, attention.v)]
    decoder = Decoder(model.decoder, model.lm_head, 12, has_positions=False)
    rng = np.random.default_rng(0)
    samples = [rng.integers(3, VOCABULARY, (1, 12)) for _ in range(6)]
    return Network(model, Encoder(model.encoder, projections), decoder, samples)


def speaking(model: Any) -> Any:
    """Weights large enough that the layers matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    return model.eval()


def steps(net: Network, cross: Feed, run: Run, tokens: list[int]) -> Iterator[Feed]:
    """Decode STEPS tokens with ``run``, each appended to ``tokens``; the inputs of each call."""
    own = {name: np.zeros((1, HEADS, PAST, WIDTH // HEADS), np.float32) for name in net.own}
    for step in range(STEPS):
        mask = np.full((1, 1, 1, PAST + 1), HIDDEN, np.float32)
        mask[..., PAST - step :] = 0
        where = {"position": np.array([[step]])} if "position" in net.names else {}
        feed = {"ids": np.array([tokens[-1:]]), "mask": mask, **where, **own, **cross}
        yield feed
        found = run(feed)
        own = {name: np.asarray(found[f"{name}_out"]).reshape(own[name].shape) for name in net.own}
        tokens.append(ranked(tokens, found["logits"])[0])


def in_torch(net: Network, module: nn.Module, names: list[str]) -> Run:
    def run(feed: Feed) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {n: t.numpy() for n, t in zip(names, module(*[torch.as_tensor(v) for v in feed.values()]))}

    return run


def ranked(tokens: list[int], logits: Any) -> tuple[int, float]:
    """The likeliest token that was not said yet (random networks repeat themselves at once), and its margin over the
    next, as a part of the logits' range."""
    scores = np.array(logits, np.float64).reshape(-1)
    spread = float(scores.max() - scores.min())
    scores[tokens] = -np.inf
    second, first = np.sort(scores)[-2:]
    return int(scores.argmax()), float(first - second) / spread


def deployed(module: nn.Module, feeds: list[Feed], outputs: list[str], out: Path, overrides: Any = None) -> Path:
    inputs = tuple(torch.as_tensor(value) for value in feeds[0].values())
    graph = hq.load(
        module, example_inputs=inputs, dynamic_batch=False, input_names=list(feeds[0]), output_names=outputs
    )
    hq.quantize(graph, feeds, target="sm8650", scheme="w8a16", overrides=overrides).export(out)
    hq.compile(out)
    return out / "model.sm8650.bin"


@pytest.mark.slow
@pytest.mark.parametrize("make", [whisper, t5])
def test_a_decoding_loop_on_the_target_says_what_fp32_says(make: Callable[[], Network], tmp_path: Path) -> None:
    net = make()
    outputs = ["logits", *(f"{name}_out" for name in net.own)]
    encode = in_torch(net, net.encoder, net.cross)
    decode = in_torch(net, net.decoder, outputs)
    calibration: list[Feed] = []
    for x in net.samples[1:]:
        cross = encode({"x": x})
        calibration += [dict(feed) for feed in steps(net, cross, decode, [START])]
    ties = {f"tie {name}": {"tie": [name, f"{name}_out"], "symmetric": True} for name in net.own}
    first = deployed(net.encoder, [{"x": x} for x in net.samples[1:]], net.cross, tmp_path / "encoder")
    second = deployed(net.decoder, calibration, outputs, tmp_path / "decoder", ties)
    x, margins, found = net.samples[0], [], [START]
    with hq.Runtime(first, workers=1) as encoder, hq.Runtime(second, workers=1) as decoder:
        shapes = {name: value.shape for name, value in encode({"x": x}).items()}
        cross = {name: value.reshape(shapes[name]) for name, value in encoder.run({"x": x}).items()}
        for _ in steps(net, cross, decoder.run, found):
            margins.append(ranked(found, net.fp32(x, found)))
    assert len(set(found)) == STEPS + 1
    for token, (expected, margin) in zip(found[1:], margins, strict=True):
        assert token == expected or margin < NEAR, (found, margins)
