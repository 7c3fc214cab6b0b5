"""hq.llm.deploy: from a language model to a folder for Genie. Its parts: quantize, compile, verify."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hexaquant.core.events import Events
from hexaquant.folder.commit import commit
from hexaquant.folder.manifest import amend_manifest, read_manifest, verify_files
from hexaquant.folder.resume import KEY, is_current
from hexaquant.htp.scheme import Scheme, check_scheme, find_scheme
from hexaquant.htp.soc import DEFAULT_TARGET, find_target
from hexaquant.llm.binary import compile_decoder, lower_graph, same_weights
from hexaquant.llm.encodings import Decoder, Settings, describe, quantize_prompt, sibling
from hexaquant.llm.folder import write_dialog, write_source
from hexaquant.llm.graphs import graph_name
from hexaquant.llm.record import SECTION, Record, open_llm
from hexaquant.llm.simulation import ENCODINGS, onnx_file, qdq_file, write_simulation
from hexaquant.llm.source import Source, open_source
from hexaquant.llm.texts import calibration_sequences
from hexaquant.ptq.recipe import Recipe, find_recipe
from hexaquant.ptq.steps.graph_steps import RotateTransformer
from hexaquant.ptq.steps.model_steps import Calibrate, RoundWeights
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan_json import plan_to_json

DECODER = "decoder"
"""Name of the recipe that decoder_recipe gives."""


def decoder_recipe(scheme: Scheme) -> Recipe:
    """The residual stream and the heads rotated; weights below 8 bits rounded by the outputs' error.

    Single channels of the stream are far larger than the others, which costs 5 dB of the logits at 16 bits already.
    """
    steps = (RotateTransformer(), Calibrate())
    return Recipe(DECODER, (*steps, RoundWeights()) if scheme.weight_bits < 8 else steps)


def quantize(
    model: Any,
    out: str | Path,
    *,
    tokenizer: Any = None,
    target: str = DEFAULT_TARGET,
    scheme: str = "w8a16",
    context: int | Sequence[int] = 1024,
    prompt: int = 64,
    recipe: str | Recipe = DECODER,
    cache_bits: int = 8,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    samples: int = 8,
    length: int = 128,
    force: bool = False,
    events: Events | None = None,
) -> dict[str, Any]:
    """Quantize ``model`` (see open_source); write the simulation, the tokenizer and Genie's configuration to ``out``.

    ``recipe``: "decoder" (decoder_recipe) or as hq.quantize takes it; ``context``: tokens in all, or several lengths,
    of which the shortest that holds a conversation is used; ``prompt``: tokens that the prompt graph takes at once;
    ``data``: a text file to calibrate on (default: questions and the model's own answers), of which ``samples``
    sequences of ``length`` tokens.
    Raises InputError for what is no decoder, or sizes that do not fit; TargetError for what the target refuses.
    """
    log = events or Events()
    folder = Path(out)
    soc = find_target(target)
    kind = find_scheme(scheme)
    check_scheme(kind, soc)
    source = open_source(model, tokenizer)
    decoder = describe(source.model, context, prompt)
    steps = decoder_recipe(kind) if recipe == DECODER else find_recipe(recipe)
    settings = Settings(soc, kind, steps, cache_bits, overrides)
    log.note("quantize", f"calibrating on {samples} sequences of {length} tokens at most")
    sequences = calibration_sequences(source, data, samples, min(length, decoder.shapes[0].context))
    wanted = _fingerprint(source, decoder, settings, sequences)
    if not force and is_current(folder, SECTION, wanted, _files(decoder)):
        log.note("quantize", f"{folder} holds this quantized model already; kept (--force makes it again)")
        return _summary(folder)
    simulation, shared = quantize_prompt(decoder, sequences, settings, log)
    folder.mkdir(parents=True, exist_ok=True)
    with commit(folder) as draft:
        names = write_simulation(simulation, decoder.shapes[0], draft, encodings_file=True)
        plan = plan_to_json(simulation.plan)
        weight_bytes = _weight_bytes(simulation)
        constants = simulation.exported_graph()
        encodings = simulation.encodings()
        del simulation  # memory holds one of them at a time
        for shapes in decoder.shapes[1:]:
            log.note("quantize", f"the same encodings for {graph_name(shapes)}")
            other = sibling(decoder, shapes, shared, constants, encodings, settings)
            names += write_simulation(other, shapes, draft, encodings_file=False)
        record = _record(source, decoder, settings, write_source(source, draft))
        names += write_dialog(record, source, draft)
        made: dict[str, Any] = {
            "recipe": settings.recipe.document(),
            "steps": [asdict(report) for report in shared.reports],
            "weight_bytes": weight_bytes,
        }
        made |= {"overrides": dict(overrides or {}), "data": str(data or "questions and the model's own answers")}
        sections = {SECTION: {**record.to_json(), KEY: wanted}, "quantization": made, "plan": plan}
        amend_manifest(draft, files=names, sections=sections, target=record.target, scheme=record.scheme)
    return _summary(folder)


def compile_folder(
    out: str | Path, *, o_level: int = 3, force: bool = False, events: Events | None = None
) -> dict[str, Any]:
    """Lower and compile the graphs of ``out``: the device's binary, and its twin that the emulator loads.

    Raises TargetError naming what the target refuses, or the tensor whose encoding did not arrive.
    """
    log = events or Events()
    folder, record = open_llm(out)
    verify_files(folder, [qdq_file(shapes) for shapes in record.shapes])
    manifest = read_manifest(folder)
    hashes = [manifest.files[qdq_file(shapes)].sha256 for shapes in record.shapes]
    wanted = hashlib.sha256(json.dumps([hashes, record.target, o_level]).encode()).hexdigest()
    names = [f"{graph_name(shapes)}.dlc" for shapes in record.shapes]
    if not force and is_current(folder, "compile", wanted, [*names, record.device_binary, record.twin]):
        log.note("compile", f"{folder} is compiled already; kept (--force makes it again)")
        return _summary(folder)
    lowered = [lower_graph(folder, shapes, record.soc, log) for shapes in record.shapes]
    log.note("compile", same_weights(lowered))
    io = {graph_name(one.shapes): {"io": one.report.io.names()} for one in lowered}
    for name, shared in ((record.twin, False), (record.device_binary, True)):
        context = f"context {name}"
        if not force and is_current(folder, context, wanted, [name]):  # a run that was interrupted made it
            log.note("compile", f"{name} is compiled already; kept")
            continue
        log.note("compile", f"compiling {name}")
        compile_decoder(lowered, folder / name, record.soc, o_level, share_weights=shared)
        amend_manifest(folder, files=[name], sections={context: {KEY: wanted, "graphs": io}})
    coverage = {graph_name(one.shapes): one.coverage.counts() for one in lowered}
    section = {KEY: wanted, "o_level": o_level, "coverage": coverage}
    amend_manifest(folder, files=names, sections={"compile": section})
    return _summary(folder)


def deploy(model: Any, out: str | Path, *, o_level: int = 3, force: bool = False, events: Events | None = None,
           **how: Any) -> dict[str, Any]:  # fmt: skip
    """Quantize (``how``: as quantize takes it), compile; returns what the folder holds."""
    quantize(model, out, force=force, events=events, **how)
    return compile_folder(out, o_level=o_level, force=force, events=events)


def _record(source: Source, decoder: Decoder, settings: Settings, where: str) -> Record:
    return Record(
        source.name, where, decoder.form, decoder.rope, decoder.shapes, source.bos, source.eos, source.pad,
        settings.target.name, settings.scheme.name, settings.cache_bits,
    )  # fmt: skip


def _weight_bytes(model: QuantizedModel) -> int:
    """What weights, biases and constants take with their encodings' bits."""
    bits = {p.name: p.grid.bits for p in model.plan if p.grid is not None}
    return sum(t.numel() * bits.get(name, 32) // 8 for name, t in model.parameters_by_name().items())


def _files(decoder: Decoder) -> list[str]:
    return [ENCODINGS, *(name(shapes) for shapes in decoder.shapes for name in (onnx_file, qdq_file))]


def _fingerprint(source: Source, decoder: Decoder, settings: Settings, sequences: list[list[int]]) -> str:
    """Of everything that decides about the quantized model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(source.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    names = {"target": settings.target.name, "scheme": settings.scheme.name, "recipe": settings.recipe.document()}
    how = {**asdict(settings), **names}
    document = [how, asdict(decoder.form), asdict(decoder.rope) if decoder.rope else None, sequences]
    shapes = [asdict(one) for one in decoder.shapes]
    digest.update(json.dumps([document, shapes], default=str, sort_keys=True).encode())
    return digest.hexdigest()


def _summary(folder: Path) -> dict[str, Any]:
    """What the folder holds, for people and --json."""
    out, record = open_llm(folder)
    manifest = read_manifest(out)
    return {
        "folder": str(out),
        "name": record.name,
        "target": record.target,
        "scheme": record.scheme,
        "cache_bits": record.cache_bits,
        "context": record.context,
        "graphs": [graph_name(shapes) for shapes in record.shapes],
        "positions": "rotary" if record.rope is not None else "index",
        "layers": len(record.form.layers),
        "coverage": manifest.sections.get("compile", {}).get("coverage", {}),
        "files": {name: {"path": str(out / name), "bytes": entry.bytes} for name, entry in manifest.files.items()},
    }
