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
    "Genie": ("hexaquant.llm.genie", "Genie"),
}

__all__ = ["Genie", "compile", "deploy", "quantize"]

if TYPE_CHECKING:
    from hexaquant.llm.genie import Genie
    from hexaquant.llm.pipeline import compile_folder as compile
    from hexaquant.llm.pipeline import deploy, quantize


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'hexaquant.llm' has no attribute '{name}'")
    module, attribute = _NAMES[name]
    return getattr(import_module(module), attribute)
