"""hexaquant: neural networks onto Qualcomm's Hexagon NPU without losing accuracy.

    import hexaquant as hq
    graph = hq.load("model.onnx")
    model = hq.quantize(graph, data, target="sm8650", scheme="w8a8")
    model.export("out")
    hq.compile("out")
    report = hq.verify("out", data=validation)
    outputs = hq.Runtime("out/model.sm8650.bin").run({"x": x})

Names are imported when first used, so that ``import hexaquant`` is quick.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; no import of typing: see core/child_process.py

__version__ = "0.1.0"

_NAMES = {
    "load": ("hexaquant.frontends", "load"),
    "lint": ("hexaquant.api.lint", "lint"),
    "quantize": ("hexaquant.api.quantize", "quantize"),
    "finetune": ("hexaquant.api.finetune", "finetune"),
    "random_data": ("hexaquant.api.quantize", "random_data"),
    "export": ("hexaquant.folder.artifacts", "export_model"),
    "load_quantized": ("hexaquant.folder.artifacts", "load_quantized"),
    "make_bundle": ("hexaquant.api.bundle", "make_bundle"),
    "compile": ("hexaquant.api.compile", "compile_folder"),
    "compare_converters": ("hexaquant.api.compare_converters", "compare_converters"),
    "estimate": ("hexaquant.api.estimate", "estimate"),
    "analyze": ("hexaquant.api.analyze", "analyze"),
    "debug": ("hexaquant.api.debug", "debug"),
    "verify": ("hexaquant.api.verify", "verify_folder"),
    "deploy": ("hexaquant.api.deploy", "deploy"),
    "write_report": ("hexaquant.api.report", "write_report"),
    "auto": ("hexaquant.api.auto", "auto"),
    "mixed_precision": ("hexaquant.api.mixed", "mixed_precision"),
    "correct_on_target": ("hexaquant.api.correct_on_target", "correct_on_target"),
    "Runtime": ("hexaquant.qnn.runtime", "Runtime"),
    "write_ep_context": ("hexaquant.qnn.ep_context", "write_ep_context"),
    "Genie": ("hexaquant.llm.genie", "Genie"),
    "Graph": ("hexaquant.ir.graph", "Graph"),
    "Grid": ("hexaquant.core.grid", "Grid"),
    "Encoding": ("hexaquant.core.encoding", "Encoding"),
    "Events": ("hexaquant.core.events", "Events"),
    "HexaquantError": ("hexaquant.core.errors", "HexaquantError"),
    "InputError": ("hexaquant.core.errors", "InputError"),
    "TargetError": ("hexaquant.core.errors", "TargetError"),
    "WorkerError": ("hexaquant.core.errors", "WorkerError"),
    "DeadlineError": ("hexaquant.core.errors", "DeadlineError"),
    "OverloadError": ("hexaquant.core.errors", "OverloadError"),
    "make_plan": ("hexaquant.api.settings", "make_plan"),
    "QuantizedModel": ("hexaquant.folder.artifacts", "Model"),
}

__all__ = ["__version__", *_NAMES]

if TYPE_CHECKING:
    from hexaquant.api.analyze import analyze
    from hexaquant.api.auto import auto
    from hexaquant.api.bundle import make_bundle
    from hexaquant.api.compare_converters import compare_converters
    from hexaquant.api.compile import compile_folder as compile
    from hexaquant.api.correct_on_target import correct_on_target
    from hexaquant.api.debug import debug
    from hexaquant.api.deploy import deploy
    from hexaquant.api.estimate import estimate
    from hexaquant.api.finetune import finetune
    from hexaquant.api.lint import lint
    from hexaquant.api.mixed import mixed_precision
    from hexaquant.api.quantize import quantize, random_data
    from hexaquant.api.report import write_report
    from hexaquant.api.settings import make_plan
    from hexaquant.api.verify import verify_folder as verify
    from hexaquant.core.encoding import Encoding
    from hexaquant.core.errors import (
        DeadlineError,
        HexaquantError,
        InputError,
        OverloadError,
        TargetError,
        WorkerError,
    )
    from hexaquant.core.events import Events
    from hexaquant.core.grid import Grid
    from hexaquant.folder.artifacts import Model as QuantizedModel
    from hexaquant.folder.artifacts import export_model as export
    from hexaquant.folder.artifacts import load_quantized
    from hexaquant.frontends import load
    from hexaquant.ir.graph import Graph
    from hexaquant.llm.genie import Genie
    from hexaquant.qnn.ep_context import write_ep_context
    from hexaquant.qnn.runtime import Runtime


def __getattr__(name: str) -> object:
    if name == "llm":
        return import_module("hexaquant.llm")
    if name not in _NAMES:
        raise AttributeError(f"module 'hexaquant' has no attribute '{name}'")
    module, attribute = _NAMES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
