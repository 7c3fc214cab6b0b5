"""Beside a converted DLC: the graph as ``*_net.json`` and as the C source of Qualcomm's saver backend."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hexaquant.api.convert import Converted
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import EnvironmentLacksError, TargetError, WorkerError
from hexaquant.folder.manifest import amend_manifest
from hexaquant.qnn.net_json import net_document
from hexaquant.qnn.saver import Recording, record_source

FOLDER = "qnn_saver"


@dataclass(frozen=True)
class QnnFiles:
    """``recording`` is None where the saver library cannot record the graph, because of ``reason``."""

    converted: Converted
    net_json: Path
    recording: Recording | None
    reason: str = ""


def write_sources(converted: Converted, *, float_io: bool | Collection[str] = False, command: str = "") -> QnnFiles:
    """Write <stem>_net.json and qnn_saver/ beside the DLC and record them in its manifest.json.

    ``float_io`` as it was for the DLC; ``command``: what net.json names as its maker. The DLC stands by itself: a
    failure of the saver library is told in ``reason`` and raises nothing.
    """
    dlc, report = converted.dlc, converted.report
    net_json = dlc.with_name(f"{dlc.stem}_net.json")
    names = report.names | {row.lowered: row.tensor for row in converted.coverage.rows if row.tensor}
    write_text(net_json, json.dumps(net_document(report.graph, names, command), indent=1))
    recording, reason = _record(converted, dlc.parent / FOLDER, float_io)
    made = [] if recording is None else [recording.source, recording.parameters]
    files = [net_json.name, *(path.relative_to(dlc.parent).as_posix() for path in made)]
    amend_manifest(dlc.parent, files=files)
    return QnnFiles(converted, net_json, recording, reason)


def _record(converted: Converted, folder: Path, float_io: bool | Collection[str]) -> tuple[Recording | None, str]:
    soc = converted.target
    with tempfile.TemporaryDirectory(prefix="hexaquant-sources-") as name:
        source = Path(name) / "model.qdq.onnx"
        converted.qdq.save(source)
        try:
            return record_source(source, folder, soc.model, soc.arch, float_io=float_io), ""
        except (TargetError, WorkerError, EnvironmentLacksError) as error:
            return None, str(error)
