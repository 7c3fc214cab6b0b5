"""Language models of two layers with random weights, and a tokenizer of single bytes made in code."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 320
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SLIDING: dict[str, Any] = {"head_dim": 16, "sliding_window": 16}
"""A window that is shorter than the texts of the tests."""
OF: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 16},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "phi3": {},
    "gemma2": SLIDING,
    "gemma3_text": {**SLIDING, "layer_types": ["sliding_attention", "full_attention"]},
    "smollm3": {},
    "olmo": {},
    "olmo2": {},
    "granite": {"attention_multiplier": 0.3, "logits_scaling": 2.0},
    "stablelm": {},
    "phi": {"partial_rotary_factor": 0.5},
    "starcoder2": {},
    "cohere": {},
    "glm": {"head_dim": 16},
}
SCALED: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "short_factor": [1.0] * 8,
        "long_factor": [1.0 + 0.5 * i for i in range(8)],
    },
}


def decoder(kind: str, **more: Any) -> Any:
    """A causal language model of ``kind`` with weights large enough that the layers matter."""
    if kind == "gpt2":
        config = CONFIG_MAPPING[kind](
            vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
        )
    else:
        config = CONFIG_MAPPING[kind](**{**SIZES, **OF[kind], **more})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    return model


def scaled_llama(kind: str) -> Any:
    """Llama with RoPE scaling."""
    return decoder("llama", rope_parameters={"rope_theta": 10000.0, **SCALED[kind]})


def tokenizer() -> PreTrainedTokenizerFast:
    """Three special tokens, the 256 bytes, and unused ones."""
    vocabulary = {f"<{index}>": index for index in range(3)}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    while len(vocabulary) < VOCABULARY:
        vocabulary[f"<unused{len(vocabulary)}>"] = len(vocabulary)
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<1>", eos_token="<2>", pad_token="<0>")


def tokens(count: int, seed: int = 0) -> list[int]:
    """Random ones, no special ones among them."""
    found = torch.randint(3, 259, (count,), generator=torch.Generator().manual_seed(seed))
    return [int(token) for token in found]


def greedy(model: Any, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
    """FP32's own tokens after ``prompt``, all recomputed for each, and the margin of each over the next candidate, as a
    part of the logits' range."""
    found, margins = list(prompt), []
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([found])).logits[0, -1]
        best = logits.topk(2).values
        margins.append(float((best[0] - best[1]) / (logits.max() - logits.min())))
        found.append(int(logits.argmax()))
    return found[len(prompt) :], margins
