"""genie_config.json and htp_backend_ext_config.json, every value from the network.

Genie takes a wrong rope-theta, n-vocab or kv-dim without a word and talks nonsense, so nobody should write them by
hand; ``llm verify`` compares what a folder has with what this module gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexaquant.htp.soc import Target
from hexaquant.llm.graphs import Form
from hexaquant.llm.rope import Rope

CONFIG = "genie_config.json"
EXTENSIONS = "htp_backend_ext_config.json"


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen; ``greedy``: always the likeliest."""

    greedy: bool = True
    temperature: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    seed: int = 42

    def document(self) -> dict[str, Any]:
        """As genie_config.json has it. Greedy decoding is a top-k of one."""
        if self.greedy:
            return {"version": 1, "seed": self.seed, "temp": 1.0, "top-k": 1, "top-p": 1.0}
        return {"version": 1, "seed": self.seed, "temp": self.temperature, "top-k": self.top_k, "top-p": self.top_p}


def sampler_of(model: Any) -> Sampler:
    """What the model's generation_config.json says."""
    given = getattr(model, "generation_config", None)
    if given is None or not getattr(given, "do_sample", False):
        return Sampler()
    return Sampler(
        False,
        float(given.temperature or 1.0),
        int(given.top_k or 40),
        float(given.top_p or 1.0),
    )


def dialog_config(
    form: Form,
    rope: Rope | None,
    context: int,
    binaries: Sequence[str],
    *,
    bos: int,
    eos: Sequence[int],
    pad: int,
    sampler: Sampler,
    extensions: bool = True,
) -> dict[str, Any]:
    """genie_config.json. ``extensions``: name the backend's own file too, which only a device reads."""
    layer = form.layers[0]
    backend: dict[str, Any] = {
        "version": 1,
        "use-mmap": True,
        "spill-fill-bufsize": 0,
        "mmap-budget": 0,
        "poll": False,
        "cpu-mask": "0xe0",
        "kv-dim": layer.key_width,
        "allow-async-init": False,
    }
    engine: dict[str, Any] = {
        "version": 1,
        "n-threads": 3,
        "backend": {"version": 1, "type": "QnnHtp", "QnnHtp": backend},
        "model": {
            "version": 1,
            "type": "binary",
            "binary": {"version": 1, "ctx-bins": list(binaries)},
            "positional-encoding": positional_encoding(rope),
        },
    }
    if extensions:
        engine["backend"]["extensions"] = EXTENSIONS
    return {
        "dialog": {
            "version": 1,
            "type": "basic",
            "context": {
                "version": 1,
                "size": context,
                "n-vocab": form.vocabulary,
                "bos-token": bos,
                "eos-token": eos[0] if len(eos) == 1 else list(eos),
                "pad-token": pad,
            },
            "sampler": sampler.document(),
            "tokenizer": {"version": 1, "path": "tokenizer.json"},
            "engine": engine,
        }
    }


def positional_encoding(rope: Rope | None) -> dict[str, Any]:
    """ "rope" with its numbers, or "absolute": positions as integers."""
    if rope is None:
        return {"type": "absolute"}
    found: dict[str, Any] = {"type": "rope", "rope-dim": rope.width // 2, "rope-theta": rope.theta}
    if rope.scaling is not None:
        found["rope-scaling"] = rope.scaling
    return found


def backend_extensions(target: Target, graphs: Sequence[str], o_level: int = 3) -> dict[str, Any]:
    """htp_backend_ext_config.json: the SoC and how its NPU runs while a dialog talks."""
    return {
        "devices": [
            {
                "soc_model": target.model,
                "dsp_arch": f"v{target.arch}",
                "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
            }
        ],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": len(graphs) > 1},
    }


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], path: str = "") -> list[str]:
    """What ``found`` has otherwise than ``expected``, as sentences: "context.size is 512, the network has 1024"."""
    told = []
    for key, value in expected.items():
        where = f"{path}.{key}" if path else key
        if key not in found:
            told.append(f"{where} is missing, the network has {value}")
        elif isinstance(value, Mapping) and isinstance(found[key], Mapping):
            told += differences(found[key], value, where)
        elif found[key] != value:
            told.append(f"{where} is {found[key]}, the network has {value}")
    return told
