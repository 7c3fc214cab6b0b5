"""The artifact folder: written by export, read back by everything that comes after.

``OUT/`` holds model.onnx (float weights on the grid), model.encodings, model.qdq.onnx, recipe.yaml, later model.dlc
and model.<soc>.bin, and manifest.json; ``OUT/.state/fp32.onnx`` is the network before quantization, the reference;
``OUT/.state/float.onnx`` the same network as it was rewritten for the target, equalized ..., still with FP32 constants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir
import torch
import yaml

from hexaquant.core.atomic import write_text
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.text_file import read_yaml
from hexaquant.folder.check_samples import CHECK_SAMPLES, Batch, read_samples, write_samples
from hexaquant.folder.commit import commit, complete
from hexaquant.folder.manifest import NAME, Manifest, amend_manifest, read_manifest, sha256_of, verify_files
from hexaquant.htp.soc import Target, find_target
from hexaquant.io.encodings_file import EncodingsFile, read_encodings, write_encodings
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.plan_json import plan_from_json, plan_to_json

MODEL = "model.onnx"
ENCODINGS = "model.encodings"
QDQ = "model.qdq.onnx"
DLC = "model.dlc"
REFERENCE = ".state/fp32.onnx"
FLOAT = ".state/float.onnx"
RECIPE = "recipe.yaml"
SHOWN = 4
"""Names in the sentence about altered encodings."""


class Model(QuantizedModel):
    """A QuantizedModel that knows the FP32 graph it came from and can export itself.

    ``reference``: the FP32 graph, None where the folder ``came_from``, from which the model was read, has it;
    ``samples``: the first of the calibration data.
    """

    reference: Graph | None = None
    came_from: Path | None = None
    overrides: Mapping[str, Any] | None = None
    steps: tuple[dict[str, Any], ...] = ()
    recipe: Mapping[str, Any] | None = None
    data_source: str = ""
    samples: tuple[Batch, ...] = ()

    def export(self, folder: str | Path, *, encodings_version: str = "1.0.0") -> Exported:
        """Write model.onnx, model.encodings and model.qdq.onnx into ``folder``, as :func:`export_model` does."""
        return export_model(
            self,
            folder,
            encodings_version=encodings_version,
            reference=self.reference or self.stored(REFERENCE),
            overrides=self.overrides,
            steps=list(self.steps),
            recipe=self.recipe,
            made_from={"data": self.data_source},
        )

    def stored(self, name: str) -> Graph | None:
        """The network ``name`` of the folder that the model was read from. Raises InputError for a changed file."""
        if self.came_from is None or name not in read_manifest(self.came_from).files:
            return None
        verify_files(self.came_from, [name])
        return Graph(oir.load(self.came_from / name), str(self.came_from / name))


@dataclass(frozen=True)
class Folder:
    """An artifact folder that is there and whole; its files are checked by :meth:`verify`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Folder:
        """``folder``, after a change that was interrupted is finished. Raises InputError where it is none."""
        out = Path(folder)
        complete(out)
        if not (out / NAME).is_file():
            raise InputError(f"{out} is not an artifact folder (no {NAME}): run hexaquant quantize or deploy first")
        return cls(out, read_manifest(out))

    def verify(self, names: Collection[str]) -> None:
        """Raise InputError naming the first of ``names`` that is missing, unrecorded or changed."""
        verify_files(self.path, names)

    @property
    def plan(self) -> QuantPlan:
        return plan_from_json(self.manifest.sections.get("plan", {}))

    @property
    def target(self) -> Target:
        """The SoC for which it was quantized."""
        return find_target(self.manifest.target)

    def binary(self, target: Target | None = None) -> Path:
        """The context binary for ``target`` (default: its own). Raises InputError where it was not compiled."""
        soc = target or self.target
        binary = self.path / binary_name(soc)
        if not binary.is_file():
            raise InputError(f"{binary} does not exist: run hexaquant compile {self.path} --target {soc.name} first")
        return binary


def binary_name(target: Target) -> str:
    """File name of the context binary for ``target``."""
    return f"model.{target.name}.bin"


@dataclass(frozen=True)
class Exported:
    """What export wrote. ``lost``: sentences on what the encodings version could not hold."""

    folder: Path
    files: tuple[Path, ...]
    lost: tuple[str, ...]


def export_model(
    model: QuantizedModel,
    folder: str | Path,
    *,
    encodings_version: str = "1.0.0",
    reference: Graph | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: list[dict[str, Any]] | None = None,
    recipe: Mapping[str, Any] | None = None,
    made_from: Mapping[str, Any] | None = None,
    obsolete: Collection[str] = (),
) -> Exported:
    """Write ``model`` into ``folder``, read everything back and compare. All files change together or none does.

    ``reference``: the FP32 graph, kept for verification; ``recipe``: written as YAML; ``made_from``: what else the
    manifest's section "quantization" shall say ("data", "fingerprint" of folder/resume.py); ``obsolete``: files of the
    folder (a checkpoint) that go away with the change. Raises EncodingError when a tensor was never calibrated or when
    what was written does not read back identically.
    """
    out = Path(folder)
    encodings = model.encodings()
    graph = model.exported_graph()
    put_constants_on_grid(graph, encodings)
    made = {"steps": steps or [], **(made_from or {})}
    _make_folder(out)
    with commit(out, obsolete) as draft:
        names = _write_networks(draft, model, graph, encodings, reference)
        lost = _write_encodings(draft / ENCODINGS, encodings, model.plan, graph, encodings_version)
        check_reread(draft, encodings, encodings_version)
        if recipe is not None:
            write_text(draft / RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False))
            names.append(RECIPE)
        if isinstance(model, Model) and write_samples(draft / CHECK_SAMPLES, model.samples):
            names.append(CHECK_SAMPLES)
        _record(draft, model.plan, names, overrides, made, encodings_version)
    return Exported(out, tuple(out / name for name in names), tuple(lost))


def kept(folder: Path, lost: tuple[str, ...] = ()) -> Exported:
    """The files that ``folder`` holds already, as export would name them."""
    return Exported(folder, tuple(folder / name for name in (MODEL, ENCODINGS, QDQ, REFERENCE)), lost)


def _write_networks(
    draft: Path, model: QuantizedModel, graph: Graph, encodings: dict[str, Encoding], reference: Graph | None
) -> list[str]:
    """The ONNX files; returns all names that the folder's manifest shall record, the encodings file included."""
    floats = model.stored(FLOAT) if isinstance(model, Model) else None
    graph.save(draft / MODEL)
    to_qdq(graph, encodings, bypass=model.bypassed()).save(draft / QDQ)
    if reference is None:
        return [MODEL, ENCODINGS, QDQ]
    reference.save(draft / REFERENCE)
    (floats or model.source_graph).save(draft / FLOAT)
    return [MODEL, ENCODINGS, QDQ, REFERENCE, FLOAT]


def _make_folder(out: Path) -> None:
    try:
        (out / ".state").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the artifact folder {out}: {error.strerror}; choose another with -o") from None


def put_constants_on_grid(graph: Graph, encodings: dict[str, Encoding]) -> None:
    """Replace constants of ``graph`` by their nearest representable values."""
    for name, value in graph.model.graph.initializers.items():
        encoding = encodings.get(name)
        if encoding is None or value.const_value is None or encoding.grid.is_float or encoding.grid.bits > 16:
            continue
        data = torch.from_numpy(value.const_value.numpy().copy())
        value.const_value = oir.tensor(encoding.fake_quantize(data.float()).to(data.dtype).numpy(), name=name)


def _write_encodings(
    path: Path, encodings: dict[str, Encoding], plan: QuantPlan, graph: Graph, version: str
) -> list[str]:
    params = [p.name for p in plan if p.name in encodings and p.role in ("weight", "bias", "constant")]
    activations = [name for name in encodings if name not in set(params)]
    return write_encodings(path, encodings, activations=activations, params=params, version=version, graph=graph)


def check_reread(out: Path, encodings: dict[str, Encoding], version: str) -> None:
    """Raise EncodingError when the files in ``out`` do not give back exactly ``encodings``."""
    graph = Graph(oir.load(out / MODEL), str(out / MODEL))
    stored = read_encodings(out / ENCODINGS).resolve(graph).all
    _, from_model = from_qdq(Graph(oir.load(out / QDQ), str(out / QDQ)))
    for name, encoding in encodings.items():
        if name in stored and not same_numbers(encoding, stored[name]):
            raise EncodingError(f"'{name}' reads back differently from {out / ENCODINGS}: please report this")
        if name in from_model and not same_numbers(encoding, from_model[name]):
            raise EncodingError(f"'{name}' reads back differently from {out / QDQ}: please report this")


def same_numbers(a: Encoding, b: Encoding) -> bool:
    """True when both quantize every value alike (storage sign and spelling of the grid aside)."""
    if a.grid.is_float or b.grid.is_float:
        return a.grid.is_float and b.grid.is_float
    same_step = a.step.shape == b.step.shape and torch.equal(a.step, b.step)
    return a.grid.bits == b.grid.bits and same_step and torch.equal(a.offset, b.offset)


def _record(out: Path, plan: QuantPlan, names: list[str], overrides: Any, made: dict[str, Any], version: str) -> None:
    quantization = {"overrides": dict(overrides or {}), "encodings_version": version, **made}
    sections = {"quantization": quantization, "plan": plan_to_json(plan)}
    amend_manifest(out, files=names, sections=sections, target=plan.target.name, scheme=plan.scheme.name)


def export_encodings(folder: str | Path, version: str, path: str | Path | None = None) -> Exported:
    """Write the encodings of an artifact folder in another ``version``, to its model.encodings or to ``path``.

    Raises EncodingError for an unknown version.
    """
    model = load_quantized(folder)
    out = Path(folder)
    file = out / ENCODINGS if path is None else Path(path)
    lost = _write_encodings(file, model.encodings(), model.plan, model.source_graph, version)
    if file.resolve() == (out / ENCODINGS).resolve():
        section = {**read_manifest(out).sections["quantization"], "encodings_version": version}
        amend_manifest(out, files=[ENCODINGS], sections={"quantization": section})
    return Exported(out, (file,), tuple(lost))


def load_quantized(folder: str | Path) -> Model:
    """The simulation as it was exported to ``folder``: same graph, plan and encodings, quantizers on."""
    found = Folder.open(folder)
    out = found.path
    found.verify([MODEL, QDQ])
    graph = Graph(oir.load(out / MODEL), str(out / MODEL))
    _, encodings = from_qdq(Graph(oir.load(out / QDQ), str(out / QDQ)))
    model = Model(graph, found.plan)
    missing = model.set_encodings(encodings)
    if missing:
        raise EncodingError(f"{out / QDQ} has no encoding for '{missing[0]}': export the model again")
    made = found.manifest.quantization
    model.came_from = out
    model.overrides = made.overrides or None
    model.steps = made.steps
    model.data_source = made.data
    model.samples = read_samples(out)
    if (out / RECIPE).is_file():
        model.recipe = read_yaml(out / RECIPE, "recipe")
    return model


def require_untouched(path: Path, content: EncodingsFile) -> None:
    """Raise EncodingError naming the tensors when ``path`` (read as ``content``) is not what its folder's manifest has.

    Files without a manifest, such as another tool's, pass: nothing is known about them.
    """
    folder = path.parent
    if not (folder / NAME).is_file():
        return
    record = read_manifest(folder).files.get(path.name)
    if record is None or record.sha256 == sha256_of(path):
        return
    names = _altered(folder, content)
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
    where = f"the encoding of {shown} differs from {QDQ}" if names else "its SHA-256 is another"
    raise EncodingError(f"{path} was altered after its export: {where}; export it again, or move it out of the folder")


def _altered(folder: Path, content: EncodingsFile) -> list[str]:
    """Tensors whose encodings are not those of the intact QDQ model; empty where there is none to compare with."""
    try:
        verify_files(folder, [QDQ])
    except InputError:
        return []
    _, exported = from_qdq(Graph(oir.load(folder / QDQ), QDQ))
    return [name for name, e in content.all.items() if name in exported and not same_numbers(e, exported[name])]
