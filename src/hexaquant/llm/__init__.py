"""hq.llm: language models, from a Hugging Face folder to text that Qualcomm's Genie speaks.

    from hexaquant import llm
    llm.deploy("SmolLM2-135M-Instruct", "out", target="sm8650", scheme="w8a16", context=1024, prompt=64)
    with hq.Genie("out") as genie: print("".join(genie.text("Hello", 24)))

Names are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "deploy": ("hexaquant.llm.pipeline", "deploy"),
    "quantize": ("hexaquant.llm.pipeline", "quantize"),
    "compile": ("hexaquant.llm.pipeline", "compile_folder"),
    "verify": ("hexaquant.llm.compare", "verify"),
    "evaluate": ("hexaquant.llm.perplexity", "evaluate"),
    "Chat": ("hexaquant.llm.chat", "Chat"),
    "Genie": ("hexaquant.llm.genie", "Genie"),
}

__all__ = ["Chat", "Genie", "compile", "deploy", "evaluate", "quantize", "verify"]

if TYPE_CHECKING:
    from hexaquant.llm.chat import Chat
    from hexaquant.llm.compare import verify
    from hexaquant.llm.genie import Genie
    from hexaquant.llm.perplexity import evaluate
    from hexaquant.llm.pipeline import compile_folder as compile
    from hexaquant.llm.pipeline import deploy, quantize


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'hexaquant.llm' has no attribute '{name}'")
    module, attribute = _NAMES[name]
    return getattr(import_module(module), attribute)
