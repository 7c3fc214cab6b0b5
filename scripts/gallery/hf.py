"""One small network of each architecture of transformers' AutoModel that takes ids, pixels or audio, as it is.

Random weights, a small configuration; the module with its ids and mask (or pixels, or audio) as example inputs is
loaded and planned, and some are run end to end. Nothing is downloaded.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TOKENS, WORDS = 16, 64
TEXT = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
DECODER = TEXT | {"num_key_value_heads": 2, "head_dim": 8}
VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 32,
    "conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "pad_token_id": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """``config``: the configuration's class name; ``model``: the module's, AutoModel unless given.

    ``inputs``: text, text only (no mask), pixels, audio, features (time, 80 mel) or text and pixels.
    """

    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: str = "text"
    model: str = "AutoModel"
    size: int = 32


def _text(config: str, inputs: str = "text", model: str = "AutoModel", base: Any = None, **more: Any) -> Architecture:
    return Architecture(config, (TEXT if base is None else base) | more, inputs, model)


def _vision(config: str, size: int = 32, **more: Any) -> Architecture:
    return Architecture(config, VISION | {"image_size": size} | more, "pixels", size=size)


def _plain(config: str, inputs: str, size: int = 64, **settings: Any) -> Architecture:
    return Architecture(config, settings, inputs, size=size)


_T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_SEQ = {"vocab_size": WORDS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 40,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}  # fmt: skip
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_CLIP_TEXT = {k: v for k, v in TEXT.items() if k != "pad_token_id"} | {"pad_token_id": 1}

ARCHITECTURES: dict[str, Architecture] = {
    "BERT": _text("BertConfig"),
    "RoBERTa": _text("RobertaConfig"),
    "DistilBERT": _text("DistilBertConfig", base={"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4,
                                                  "hidden_dim": 64, "max_position_embeddings": 40}),
    "ELECTRA": _text("ElectraConfig", embedding_size=32),
    "ALBERT": _text("AlbertConfig", embedding_size=16),
    "MPNet": _text("MPNetConfig"),
    "XLM-R": _text("XLMRobertaConfig"),
    "XLM-R XL": _text("XLMRobertaXLConfig"),
    "CamemBERT": _text("CamembertConfig"),
    "DeBERTa": _text("DebertaConfig", relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0),
    "DeBERTa-v2": _text("DebertaV2Config", relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0,
                        position_buckets=8, share_att_key=True, norm_rel_ebd="layer_norm"),
    "MobileBERT": _text("MobileBertConfig", embedding_size=16, true_hidden_size=32, intra_bottleneck_size=32),
    "SqueezeBERT": _text("SqueezeBertConfig", embedding_size=32),
    "ConvBERT": _text("ConvBertConfig", embedding_size=32),
    "Funnel": _text("FunnelConfig", model="FunnelModel", base={"vocab_size": WORDS, "block_sizes": [1, 1],
                                          "block_repeats": [1, 1], "d_model": 32, "n_head": 4,
                                          "d_head": 8, "d_inner": 64, "num_decoder_layers": 1}),
    "ModernBERT": _text("ModernBertConfig", sep_token_id=2, cls_token_id=0),
    "NomicBERT": _text("NomicBertConfig"),
    "RoFormer": _text("RoFormerConfig", embedding_size=32),
    "LayoutLM": _text("LayoutLMConfig"),
    "ESM": _text("EsmConfig", mask_token_id=3, position_embedding_type="rotary"),
    "FNet": _text("FNetConfig", "text only"),
    "I-BERT": _text("IBertConfig"),
    "Nystromformer": _text("NystromformerConfig", segment_means_seq_len=TOKENS, num_landmarks=TOKENS),
    "CANINE": _text("CanineConfig", num_hash_buckets=64, local_transformer_stride=4),
    "T5 encoder": Architecture("T5Config", _T5, "text", "T5EncoderModel"),
    "mT5 encoder": Architecture("MT5Config", _T5, "text", "MT5EncoderModel"),
    "BART encoder": Architecture("BartConfig", _SEQ, "text", "BartModel.encoder"),
    "Marian encoder": Architecture("MarianConfig", _SEQ, "text", "MarianModel.encoder"),
    "Pegasus encoder": Architecture("PegasusConfig", _SEQ, "text", "PegasusModel.encoder"),
    "M2M100 encoder": Architecture("M2M100Config", _SEQ, "text", "M2M100Model.encoder"),
    "GPT-2": _text("GPT2Config", base={"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "GPT-NeoX": _text("GPTNeoXConfig"),
    "OPT": _text("OPTConfig", ffn_dim=64, word_embed_proj_dim=32),
    "BLOOM": _text("BloomConfig", n_head=4, n_layer=2),
    "Llama": _text("LlamaConfig", base=DECODER),
    "Mistral": _text("MistralConfig", base=DECODER, sliding_window=8),
    "Qwen2": _text("Qwen2Config", base=DECODER),
    "Qwen3": _text("Qwen3Config", base=DECODER),
    "Gemma": _text("GemmaConfig", base=DECODER),
    "Gemma2": _text("Gemma2Config", base=DECODER),
    "Phi": _text("PhiConfig", base=DECODER),
    "Phi-3": _text("Phi3Config", base=DECODER),
    "SmolLM3": _text("SmolLM3Config", base=DECODER),
    "Granite": _text("GraniteConfig", base=DECODER),
    "OLMo2": _text("Olmo2Config", base=DECODER),
    "StableLM": _text("StableLmConfig", base=DECODER),
    "CLIP text": Architecture("CLIPTextConfig", _CLIP_TEXT | {"projection_dim": 16}, "text", "CLIPTextModel"),
    "SigLIP text": Architecture("SiglipTextConfig", TEXT, "text only", "SiglipTextModel"),
    "CLIP vision": Architecture("CLIPVisionConfig", VISION, "pixels", "CLIPVisionModel"),
    "SigLIP vision": Architecture("SiglipVisionConfig", VISION, "pixels", "SiglipVisionModel"),
    "ViT": _vision("ViTConfig"),
    "DeiT": _vision("DeiTConfig"),
    "BEiT": _vision("BeitConfig"),
    "DINOv2": _vision("Dinov2Config"),
    "DINOv3": _vision("DINOv3ViTConfig"),
    "ViT-MSN": _vision("ViTMSNConfig"),
    "I-JEPA": _vision("IJepaConfig"),
    "YOLOS": _vision("YolosConfig", image_size=[32, 32], num_detection_tokens=4),
    "Swin": _plain("SwinConfig", "pixels", image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
                   window_size=4),
    "Swin-v2": _plain("Swinv2Config", "pixels", image_size=64, patch_size=4, embed_dim=16, depths=[2, 2],
                      num_heads=[2, 4], window_size=4),
    "ConvNeXt": _plain("ConvNextConfig", "pixels", **_STAGES),
    "ConvNeXt-v2": _plain("ConvNextV2Config", "pixels", **_STAGES),
    "ResNet": _plain("ResNetConfig", "pixels", embedding_size=8, layer_type="basic", **_STAGES),
    "RegNet": _plain("RegNetConfig", "pixels", embedding_size=8, groups_width=8, **_STAGES),
    "MobileNet-v1": _plain("MobileNetV1Config", "pixels", image_size=64, depth_multiplier=0.25, min_depth=8),
    "MobileNet-v2": _plain("MobileNetV2Config", "pixels", image_size=64, depth_multiplier=0.25, min_depth=8),
    "EfficientNet": _plain("EfficientNetConfig", "pixels", image_size=64, width_coefficient=0.25, depth_coefficient=0.3,
                           hidden_dim=320),
    "MobileViT": _plain("MobileViTConfig", "pixels", image_size=64, hidden_sizes=[16, 24, 32],
                        neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=4),
    "MobileViT-v2": _plain("MobileViTV2Config", "pixels", image_size=64, width_multiplier=0.25),
    "SegFormer": _plain("SegformerConfig", "pixels", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32],
                        num_attention_heads=[1, 2, 2, 4]),
    "PVT": _plain("PvtConfig", "pixels", image_size=64, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32],
                  num_attention_heads=[1, 2, 2, 4]),
    "PoolFormer": _plain("PoolFormerConfig", "pixels", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32]),
    "LeViT": _plain("LevitConfig", "pixels", image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 2, 4],
                    depths=[1, 1, 1], key_dim=[8, 8, 8]),
    "CvT": _plain("CvtConfig", "pixels", depth=[1, 2, 3], embed_dim=[16, 24, 32], num_heads=[1, 2, 4]),
    "FocalNet": _plain("FocalNetConfig", "pixels", image_size=64, embed_dim=16, depths=[1, 1], focal_levels=[2, 2],
                       focal_windows=[3, 3]),
    "BiT": _plain("BitConfig", "pixels", embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], num_groups=4),
    "DPT": _plain("DPTConfig", "pixels", 32, **(VISION | {"is_hybrid": False, "neck_hidden_sizes": [8, 16, 24, 32],
                  "fusion_hidden_size": 16, "backbone_out_indices": [0, 0, 1, 1]})),
    "GLPN": _plain("GLPNConfig", "pixels", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32],
                   num_attention_heads=[1, 2, 2, 4]),
    "Wav2Vec2": Architecture("Wav2Vec2Config", SPEECH, "audio"),
    "HuBERT": Architecture("HubertConfig", SPEECH, "audio"),
    "WavLM": Architecture("WavLMConfig", SPEECH, "audio"),
    "UniSpeech": Architecture("UniSpeechConfig", SPEECH, "audio"),
    "SEW": Architecture("SEWConfig", SPEECH | {"squeeze_factor": 2}, "audio"),
    "data2vec audio": Architecture("Data2VecAudioConfig", SPEECH | {"conv_pos_kernel_size": 5}, "audio"),
    "Whisper encoder": Architecture("WhisperConfig", _SEQ | {"num_mel_bins": 80, "max_source_positions": 32,
                                    "max_target_positions": 40}, "mel", "WhisperModel.encoder", 64),
    "AST": Architecture("ASTConfig", VISION | {"num_mel_bins": 80, "max_length": 64, "patch_size": 16}, "features"),
}  # fmt: skip
END_TO_END = ("BERT", "DistilBERT", "MPNet")
TARGET, SCHEMES = "sm8650", ("w8a8", "w8a16")


def made(name: str) -> tuple[Any, dict[str, Any]]:
    """The module and its example arguments by name."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    config = getattr(transformers, architecture.config)(**architecture.settings)
    family, _, part = architecture.model.partition(".")
    kind = getattr(transformers, family)
    module = kind.from_config(config) if family == "AutoModel" else kind(config)
    return (getattr(module, part) if part else module).eval(), _examples(architecture, 1, 0)


def _examples(architecture: Architecture, count: int, seed: int) -> dict[str, Any]:
    import torch

    rng = np.random.default_rng(seed)
    kind, size = architecture.inputs, architecture.size
    if kind.startswith("text"):
        ids = torch.from_numpy(rng.integers(4, WORDS, (count, TOKENS)))
        seen = np.arange(TOKENS)[None] < rng.integers(TOKENS // 2, TOKENS + 1, (count, 1))
        mask = {} if kind == "text only" else {"attention_mask": torch.from_numpy(seen.astype(np.int64))}
        return {"input_ids": ids, **mask}
    heard = {"pixels": "pixel_values", "mel": "input_features"}
    shapes = {"pixels": (3, size, size), "audio": (800,), "mel": (80, size), "features": (64, 80)}
    numbers = rng.standard_normal((count, *shapes[kind])).astype(np.float32)
    return {heard.get(kind, "input_values"): torch.from_numpy(numbers)}


def samples(name: str, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """``count`` samples of random ids and mask (or pixels, or audio), one a dict."""
    whole = _examples(ARCHITECTURES[name], count, seed)
    return [{key: np.asarray(value[i : i + 1]) for key, value in whole.items()} for i in range(count)]


def check(name: str, target: str, scheme: str) -> str:
    """ "ok" when ``name`` loads and is planned for ``target``, else the sentence that refuses it."""
    import hexaquant as hq
    from hexaquant import make_plan
    from hexaquant.core.errors import HexaquantError
    from hexaquant.htp.for_target import prepare_for_target
    from hexaquant.ir.normalize import require_static

    module, examples = made(name)
    try:
        graph = hq.load(module, (), examples)
        require_static(graph)
        prepare_for_target(graph)
        make_plan(graph, target, scheme)
    except HexaquantError as error:
        return str(error)
    return "ok"


def deploy(name: str, out: Path, target: str, scheme: str, masked: bool = True) -> dict[str, float]:
    """SQNR in dB of each output on the emulator against PyTorch, on samples that calibration never saw.

    Without ``masked`` calibration sees no padding either: its masks are all ones.
    """
    import torch

    import hexaquant as hq

    module, examples = made(name)
    graph = hq.load(module, (), examples)
    shown = samples(name, 24, 1)
    if not masked:
        shown = [one | {"attention_mask": np.ones_like(one["attention_mask"])} for one in shown]
    hq.deploy(graph, shown, out, target=target, scheme=scheme, metric=None, report=False)
    noise, power = dict.fromkeys([v.name or "" for v in graph.outputs], 0.0), dict.fromkeys(["none"], 0.0)
    with hq.Runtime(next(out.glob("*.bin"))) as runtime, torch.no_grad():
        for one in samples(name, 8, 2):
            wanted = module(**{key: torch.from_numpy(array) for key, array in one.items()})
            found = runtime.run(one)
            for key in noise:
                exact = wanted[key].double().numpy()
                power[key] = power.get(key, 0.0) + float(np.square(exact).sum())
                noise[key] += float(np.square(exact - np.asarray(found[key]).reshape(exact.shape)).sum())
    return {key: float(10 * np.log10(power[key] / max(noise[key], 1e-30))) for key in noise}


def run(names: Sequence[str], out: Path, measure: bool = False) -> None:
    """Print the table and write OUT/hf.json; ``measure``: also run END_TO_END on the emulator."""
    warnings.simplefilter("ignore")
    told: dict[str, Any] = {}
    for name in [n for n in ARCHITECTURES if not names or any(part.lower() in n.lower() for part in names)]:
        start = time.process_time()
        try:
            text = check(name, TARGET, SCHEMES[0])
        except Exception as error:  # a fault of ours or of the exporter is a row too
            text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        told[name] = {"result": text, "cpu_s": round(time.process_time() - start, 1)}
        print(f"| {name} | {text[:300]} | {told[name]['cpu_s']} s |", flush=True)
        if measure and text == "ok" and name in END_TO_END:
            told[name]["db"] = {scheme: deploy(name, out / f"{name}.{scheme}", TARGET, scheme) for scheme in SCHEMES}
            print(f"|   on the emulator | {told[name]['db']} | |", flush=True)
    passed = sum(row["result"] == "ok" for row in told.values())
    out.mkdir(parents=True, exist_ok=True)
    (out / "hf.json").write_text(json.dumps(told, indent=1))
    print(f"{passed} of {len(told)} load and are planned for {TARGET} at {SCHEMES[0]}")
