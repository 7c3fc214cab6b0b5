"""Frontend for PyTorch: ``nn.Module`` and saved ``torch.export`` programs (``.pt2``)."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.frontends.exported_archive import check_archive
from hexaquant.frontends.torch_translations import record_origins, translation_table
from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import NOTE, Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.opset import OPSET

if TYPE_CHECKING:
    from torch import nn


def from_torch(
    module: nn.Module,
    example_inputs: Sequence[Any],
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> Graph:
    """The normalized graph of ``module`` in eval mode, parameters under their own names.

    ``example_inputs`` and ``example_kwargs`` are what ``module(*inputs, **kwargs)`` takes. With ``dynamic_batch``
    dimension 0 of every tensor stays symbolic ("batch") where the module allows it; where it does not, the batch of
    the examples is fixed and ``graph.model.metadata_props["hexaquant.note"]`` says why. Training flags of the module
    are restored. Raises InputError with the exporter's root cause.
    """
    raw = exported_graph(module, example_inputs, example_kwargs, dynamic_batch=dynamic_batch)
    return _finish(raw, input_names, output_names, shapes)


def exported_graph(
    module: nn.Module,
    example_inputs: Sequence[Any],
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_batch: bool = True,
) -> Graph:
    """What PyTorch exports of ``module``, with origins, before normalization. As :func:`from_torch` otherwise."""
    example_inputs = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    name = type(module).__name__
    with _eval_mode(module):
        inputs, kwargs = _contiguous((example_inputs, dict(example_kwargs or {})))
        model, note = _export(module, inputs, kwargs, dynamic_batch, name)
    return _with_origins(model, name, note)


def from_exported(path: str | Path, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Graph:
    """The normalized graph of a program saved by ``torch.export.save`` (``.pt2``).

    An archive that could run code while it is loaded is refused (InputError), see ``exported_archive``.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; save one with torch.export.save")
    check_archive(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise InputError(f"{path}: not a program saved by torch.export.save ({reason_of(error)})") from error
    program._guards_code = []  # Python text that a call would execute; the graph needs none of it
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=translation_table(),
                optimize=False,
                verbose=False,
            )
    except Exception as error:
        raise InputError(f"{path}: PyTorch cannot export the program to ONNX: {reason_of(error)}") from error
    assert exported is not None
    return _finish(_with_origins(exported.model, path.stem), None, None, shapes)


def _export(
    module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], dynamic_batch: bool, name: str
) -> tuple[oir.Model, str]:
    note = ""
    if dynamic_batch:
        try:
            doubled, doubled_kwargs = _at_least_two(inputs, kwargs)
            dims = _batch_dims(module, doubled, doubled_kwargs)
            return _export_once(module, doubled, doubled_kwargs, dims), ""
        except Exception as error:
            note = f"batch is fixed to the example's: {reason_of(error)}"
    try:
        return _export_once(module, inputs, kwargs, None), note
    except Exception as error:
        _refuse_data_dependence(module, error, name)
        raise InputError(f"{name}: PyTorch cannot export the module to ONNX: {reason_of(error)}") from error


def _export_once(
    module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], dims: dict[str, Any] | None
) -> oir.Model:
    import torch

    with _quiet(), torch.no_grad():
        exported = torch.onnx.export(
            module,
            inputs,
            kwargs=kwargs or None,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dims,
            custom_translation_table=translation_table(),
            optimize=False,
            verbose=False,
        )
    assert exported is not None
    _name_outputs(exported.model, _output_keys(exported.exported_program))
    return exported.model


def _output_keys(program: Any) -> list[str]:
    """For each output of the exported graph the keys of the dict or dataclass it stood in ("" where there is none)."""
    from torch.utils import _pytree as pytree

    spec = program.call_spec.out_spec
    outputs = program.graph_signature.output_specs
    if spec is None or spec.num_leaves != len(outputs):
        return []
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths = {leaf: path for path, leaf in pytree.tree_flatten_with_path(tree)[0]}
    kept = [paths.get(i, ()) for i, output in enumerate(outputs) if getattr(output.arg, "value", 0) is not None]
    return ["_".join(map(_key_text, path)) if any(not hasattr(key, "idx") for key in path) else "" for path in kept]


def _key_text(key: Any) -> str:
    """Of a mapping's key, an attribute's name or a position."""
    return str(next(getattr(key, kind) for kind in ("key", "name", "idx") if hasattr(key, kind)))


def _name_outputs(model: oir.Model, names: Sequence[str]) -> None:
    """Call the outputs by ``names``; what has such a name inside gets a number. Inputs keep theirs."""
    graph = model.graph
    if len(names) != len(graph.outputs):
        return
    inner = {v.name: v for node in graph for v in node.outputs}
    taken = taken_names(graph)
    for value, name in zip(list(graph.outputs), names):
        if not name or value.producer() is None or name == value.name or (name in taken and name not in inner):
            continue
        if name in inner:
            inner[name].name = unique_name(name, taken)
            taken.add(inner[name].name or "")
        value.name = name
        taken.add(name)


def _contiguous(examples: Any) -> Any:
    """``examples`` without strides of their own: the exporter would bake a channels-last layout into the graph."""
    import torch
    from torch.utils import _pytree as pytree

    return pytree.tree_map(lambda leaf: leaf.contiguous() if isinstance(leaf, torch.Tensor) else leaf, examples)


def _at_least_two(inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The examples with a batch of 1 repeated to 2, for torch.export takes a dimension of 1 for a constant."""
    import torch
    from torch.utils import _pytree as pytree

    leaves = [t for t in pytree.tree_leaves((inputs, kwargs)) if isinstance(t, torch.Tensor) and t.dim()]
    if not leaves or leaves[0].shape[0] != 1:
        return inputs, kwargs

    def repeat(leaf: Any) -> Any:
        single = isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and leaf.shape[0] == 1
        return torch.cat([leaf, leaf]) if single else leaf

    return pytree.tree_map(repeat, inputs), pytree.tree_map(repeat, kwargs)


def _batch_dims(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Dynamic-shape specification: dimension 0 of each tensor, which must have the same size in all of them."""
    import inspect

    import torch
    from torch.utils import _pytree as pytree

    bound = inspect.signature(module.forward).bind(*inputs, **kwargs)
    tensors = [t for t in pytree.tree_leaves((inputs, kwargs)) if isinstance(t, torch.Tensor)]
    batch = next((t.shape[0] for t in tensors if t.dim()), 0)

    def spec(leaf: Any) -> Any:
        shared = isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and leaf.shape[0] == batch
        return {0: torch.export.Dim.DYNAMIC} if shared else None

    return {key: pytree.tree_map(spec, value) for key, value in bound.arguments.items()}


def _with_origins(model: oir.Model, name: str, note: str = "") -> Graph:
    record_origins(model)
    _name_batch(model)
    if note:
        model.metadata_props[NOTE] = note
    return Graph(model, name)


def _finish(
    raw: Graph,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    shapes: Mapping[str, Sequence[int | str]] | None,
) -> Graph:
    _rename(raw.source, raw.model.graph.inputs, input_names, "input")
    _rename(raw.source, raw.model.graph.outputs, output_names, "output")
    return normalize(raw, shapes)


def _rename(source: str, values: Sequence[oir.Value], names: Sequence[str] | None, what: str) -> None:
    if names is None:
        return
    if len(names) != len(values):
        raise InputError(f"{source} has {len(values)} {what}s but {len(names)} {what} names were given")
    for value, name in zip(values, names):
        value.name = name


def _name_batch(model: oir.Model) -> None:
    """Call the exporter's symbol of the first dimension ("s17") "batch", in every shape that holds it."""
    import re

    first = [v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape)]
    symbols = {d.value for d in first if not isinstance(d, int) and d.value and d.value.isidentifier()}
    if len(symbols) != 1:
        return
    pattern = re.compile(rf"\b{re.escape(symbols.pop())}\b")
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    for value in values:
        if value.shape is not None:
            dims = [d if isinstance(d, int) else d.value and pattern.sub("batch", d.value) for d in value.shape]
            value.shape = oir.Shape(dims)


@contextlib.contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and of transformers' modules no cache among the outputs (an object no graph can hold)."""
    training = [(m, m.training) for m in module.modules()]
    configs: list[Any] = [getattr(m, "config", None) for m in module.modules()]
    configs = [config for config in configs if getattr(config, "use_cache", False)]
    module.eval()
    for config in configs:
        config.use_cache = False
    try:
        yield
    finally:
        for submodule, flag in training:
            submodule.training = flag
        for config in configs:
            config.use_cache = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's prints, log lines and warnings away from the user."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


DATA_DEPENDENT = frozenset(
    {"GuardOnDataDependentSymNode", "DataDependentOutputException", "DynamicOutputShapeException"}
)
"""What torch.fx and torch.export raise where a size or a branch is decided by the values of a tensor."""


def _refuse_data_dependence(module: nn.Module, error: BaseException, name: str) -> None:
    """Raise InputError for a module whose sizes or branches depend on its data (the post-processing of a detector)."""
    found = next((e for e in causes(error) if type(e).__name__ in DATA_DEPENDENT), None)
    if found is None:
        return
    from hexaquant.frontends.torch_translations import source_line

    where = source_line(str(found)) or _raised_at(found)
    path = module_of(module, found)
    part = f"its submodule '{path}'" if path else "its forward"
    raise InputError(
        f"{name}: {part} decides sizes or branches by the values of a tensor{f' (at {where})' if where else ''}, which "
        "no static graph holds: give a module that ends before (backbone and head alone; of a detector the raw boxes "
        "and scores), and run the rest (threshold, non-maximum suppression) on the host"
    ) from error


UNREGISTERED = "_ModuleNotInstalledAsSubmoduleError"
"""The tracer's own exception where it goes on without a name: no cause of anything."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it came from, the deepest last."""
    now: BaseException | None = error
    while now is not None and type(now).__name__ != UNREGISTERED:
        yield now
        now = now.__cause__ or now.__context__


def module_of(module: nn.Module, error: BaseException) -> str:
    """The path in ``module`` of the innermost submodule whose code raised ``error``; empty for ``module`` itself."""
    import traceback

    paths = {id(submodule): path for path, submodule in module.named_modules()}
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [paths[id(owner)] for owner in owners if id(owner) in paths]
    return known[-1] if known else ""


def reason_of(error: BaseException) -> str:
    """The deepest cause's first meaningful line, with the user's source line when the exporter knows it."""
    from hexaquant.frontends.torch_translations import source_line

    *_, root = causes(error)
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    where = source_line(str(root)) or source_line(str(error)) or _raised_at(root)
    text = lines[0] if lines else type(root).__name__
    if text.endswith(":") and len(lines) > 1:
        text = f"{text} {lines[1].lstrip('- ')}"
    return f"{text} (at {where})" if where else text


def _raised_at(error: BaseException) -> str:
    """The user's innermost line in the traceback of ``error``."""
    import traceback

    from hexaquant.frontends.torch_translations import source_line

    return source_line("".join(traceback.format_tb(error.__traceback__)))
