"""A model on a device: pushed once, run many times, removed at the end."""

from __future__ import annotations

import os
import platform as this_pc
import posixpath
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from hexaquant.bundle.assemble import ENTRY, RUNNER, closure
from hexaquant.bundle.card import ModelCard
from hexaquant.bundle.model_file import NAME, model_text, result_files
from hexaquant.bundle.platforms import Platform, find_platform
from hexaquant.bundle.remote.adb import Adb
from hexaquant.bundle.remote.ssh import Ssh
from hexaquant.bundle.remote.transport import Address, Transport, joined, require
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError, WorkerError
from hexaquant.core.events import Events
from hexaquant.folder.manifest import sha256_of
from hexaquant.qnn.profile import Stage, read_profile

# Qualcomm's libraries for a device, from a folder of the user's on this PC.

FOLDER = "lib"
_BESIDE = "onnxruntime_qnn.libs"
"""The folder of a wheel that holds what its libraries need; they look for it beside their own folder."""


def library_files(folder: Path, platform: Platform, arch: int) -> dict[str, Path]:
    """Name on the device -> file here. Raises InputError naming a library that ``folder`` lacks."""
    found = {}
    for name in platform.library_files(arch):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{folder} has no {name}, which {platform.title} needs for Hexagon v{arch}")
        found[f"{FOLDER}/{name}"] = path
    beside = folder.parent / _BESIDE
    if folder.name == "onnxruntime_qnn" and beside.is_dir():
        found |= {f"{_BESIDE}/{path.name}": path for path in sorted(beside.iterdir()) if path.is_file()}
    return found


# What runs on the device: the C program, built here, or where no compiler is, the Python runner.

NDK = "ANDROID_NDK_HOME"
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-fno-fast-math", "-pthread")
_NOT_IN_IT = ("classify.c",)


def find_compiler(platform: Platform) -> str | None:
    """The C compiler for ``platform``, or None."""
    return next((found for name in _candidates(platform) if (found := shutil.which(name))), None)


def _candidates(platform: Platform) -> Iterator[str]:
    yield from platform.compilers
    if platform.name == "linux-arm64" and this_pc.machine() in ("aarch64", "arm64"):
        yield "cc"
    ndk = os.environ.get(NDK)
    if platform.name == "android" and ndk:
        for folder in sorted(Path(ndk).glob("toolchains/llvm/prebuilt/*/bin")):
            yield from (str(folder / name) for name in platform.compilers)


def build_program(compiler: str, output: Path) -> None:
    """Compile hexaquant_run into ``output``. Raises EnvironmentLacksError with what the compiler said."""
    with as_file(files("hexaquant.bundle") / "c") as source:
        sources = sorted(str(path) for path in source.glob("*.c") if path.name not in _NOT_IN_IT)
        words = [compiler, *_FLAGS, "-o", str(output), *sources, "-ldl", "-lm"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:])
        raise EnvironmentLacksError(f"{compiler} cannot build the runner: {said}")


PROGRAM = "hexaquant_run"
RUNNERS = ("auto", "c", "python")
_ERRORS: dict[int, type[HexaquantError]] = {2: InputError, 4: EnvironmentLacksError, 126: EnvironmentLacksError}
_ERRORS |= {127: EnvironmentLacksError}
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class DeviceOptions:
    """``libs``: folder here with Qualcomm's libraries for the device, which are pushed along; ``device_libs``: folder
    there that has them already; neither: they lie where the device's loader looks. ``folder``: where to put things
    there; ``keep``: leave them there, so that the next time only what changed is pushed; ``runner``: c, python, or
    auto (c where this PC has a compiler for the device); ``timeout_s``: of each command.
    """

    libs: Path | None = None
    device_libs: str | None = None
    folder: str | None = None
    keep: bool = False
    runner: str = "auto"
    timeout_s: float = 600.0
    profiling: Literal["basic", "detailed"] | None = None

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise InputError(f"--runner {self.runner} does not exist; choose {', '.join(RUNNERS)}")
        if self.libs is not None and self.device_libs is not None:
            raise InputError("--libs and --device-libs exclude each other; give one of them")
        if self.profiling not in (None, "basic", "detailed"):
            raise InputError(f"--profiling-level {self.profiling} does not exist; choose basic or detailed")


class Session:
    """``card``'s model on the device at ``address``; use it as a context manager.

    Raises EnvironmentLacksError when the device cannot be reached, is lost, or lacks something; InputError when the
    model or a library does not fit; WorkerError when the execution fails there.
    """

    def __init__(
        self, card: ModelCard, address: Address, options: DeviceOptions | None = None, events: Events | None = None
    ) -> None:
        self.card, self.address, self.options = card, address, options or DeviceOptions()
        self.stages: list[Stage] = []
        self._events = events or Events()
        way = Ssh if address.kind == "ssh" else Adb
        self._way: Transport = way(address, self.options.timeout_s)
        name = card.sha256[:16] if self.options.keep else uuid.uuid4().hex[:16]
        self.folder = posixpath.join(self.options.folder or self._way.folder, f"model-{name}")
        self._made = False

    def __enter__(self) -> Session:
        try:
            platform = self._platform()
            self._made = True
            with tempfile.TemporaryDirectory() as stage:
                self._command, files = self._prepare(platform, Path(stage))
                there = self._hashes(files)
                changed = {name: path for name, path in files.items() if there.get(name) != sha256_of(path)}
                if changed:
                    self._way.push(changed, self.folder)
            self._events.note("device", f"{self.address}: {len(changed)} of {len(files)} files pushed")
        except BaseException:
            self.close()
            raise
        return self

    def _platform(self) -> Platform:
        """What kind of device it is, by its own word."""
        system = require(self._way, "uname -sm", "asking for its system").strip()
        names = {"Linux x86_64": "host", "Linux aarch64": "android" if self.address.kind == "adb" else "linux-arm64"}
        if system not in names:
            raise EnvironmentLacksError(
                f"{self.address} runs {system or 'an unknown system'}: only Linux and Android are run remotely; "
                "elsewhere copy a bundle (hexaquant bundle)"
            )
        return find_platform(names[system])

    def _prepare(self, platform: Platform, stage: Path) -> tuple[list[str], dict[str, Path]]:
        """The command on the device without its arguments, and name there -> file here of all that it needs."""
        binary = stage / "model.bin"
        binary.symlink_to(self.card.binary.resolve())
        files = {binary.name: binary, NAME: stage / NAME}
        files[NAME].write_text(model_text(replace(self.card, binary=binary, image=None, labels=None)))
        if self.options.libs is not None:
            files |= library_files(self.options.libs, platform, self.card.target.arch)
        compiler = None if self.options.runner == "python" else find_compiler(platform)
        if compiler is not None:
            files[PROGRAM] = stage / PROGRAM
            build_program(compiler, files[PROGRAM])
            return [f"./{PROGRAM}"], files
        self._require_python(platform)
        for name, content in (closure(RUNNER) | {"run.py": ENTRY}).items():
            files[f"python/{name}"] = stage / "python" / name
            files[f"python/{name}"].parent.mkdir(parents=True, exist_ok=True)
            files[f"python/{name}"].write_bytes(content)
        return ["python3", "python/run.py"], files

    def _require_python(self, platform: Platform) -> None:
        wanted = " or ".join(platform.compilers)
        if self.options.runner == "c":
            raise EnvironmentLacksError(f"there is no C compiler for the device here: install {wanted}")
        if self._way.shell("python3 -c 'import numpy'").code:
            raise EnvironmentLacksError(
                f"nothing can run the model there: install a compiler here ({wanted}; for Android set {NDK}) "
                "or python3 with numpy on the device"
            )

    def _hashes(self, files: Mapping[str, Path]) -> dict[str, str]:
        """SHA-256 of those of ``files`` that the device has; empty where it cannot say."""
        if not self.options.keep:
            return {}
        command = f"cd {joined([self.folder])} && sha256sum -- {joined(list(files))} 2>/dev/null"
        lines = self._way.shell(command).out.decode(errors="replace").splitlines()
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

    def run(self, samples: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
        """Outputs of each sample, all as the binary stores them and in its shapes."""
        run = f"run-{uuid.uuid4().hex[:8]}"
        place = posixpath.join(self.folder, run)
        files = result_files([spec.name for spec in self.card.outputs])
        try:
            self._push_inputs(samples, place)
            self._execute(run)
            names = [f"out/Result_{i}/{file}" for i in range(len(samples)) for file in files.values()]
            found = self._way.pull(place, [*names, "profile.log"])
        finally:
            self._remove(place)
        if self.options.profiling:
            self._note_profile(found.get("profile.log", b""))
        return [self._outputs(found, index, files) for index in range(len(samples))]

    def _push_inputs(self, samples: Sequence[Arrays], place: str) -> None:
        """One file per input with all samples one after the other."""
        with tempfile.TemporaryDirectory() as stage:
            files = {}
            for index, spec in enumerate(self.card.inputs):
                files[f"in{index}.raw"] = path = Path(stage) / f"in{index}.raw"
                with path.open("wb") as file:
                    for sample in samples:
                        file.write(np.ascontiguousarray(sample[spec.name]).tobytes())
            listed = Path(stage) / "list.txt"
            run = posixpath.basename(place)
            listed.write_text(" ".join(f"{run}/{name}" for name in files) + "\n")
            self._way.push({**files, "list.txt": listed}, place)

    def _execute(self, run: str) -> None:
        words = [
            *self._command,
            "--bundle",
            ".",
            "--stored",
            "--input-list",
            f"{run}/list.txt",
            "--output",
            f"{run}/out",
        ]
        libraries = self.options.device_libs or (f"./{FOLDER}" if self.options.libs else None)
        if libraries is not None:
            words += ["--libraries", libraries]
        if self.options.profiling:
            words += ["--profile", f"{run}/profile.log", "--level", self.options.profiling]
        found = "" if libraries is None else self._library_path(libraries)
        answer = self._way.shell(f"cd {joined([self.folder])} && {found}{joined(words)}")
        if answer.code:
            kind = _ERRORS.get(answer.code, WorkerError)
            raise kind(f"on {self.address}: {answer.last_line.removeprefix('error: ')} (exit code {answer.code})")

    @staticmethod
    def _library_path(folder: str) -> str:
        """Assignments before the command, for the loader and for the NPU's own libraries."""
        where = joined([folder])
        absolute = f'"$(cd {where} && pwd)"'
        return f"LD_LIBRARY_PATH={absolute}:$LD_LIBRARY_PATH ADSP_LIBRARY_PATH={absolute} "

    def _outputs(self, found: Mapping[str, bytes], index: int, files: Mapping[str, str]) -> dict[str, np.ndarray]:
        outputs = {}
        for spec in self.card.outputs:
            content = found.get(f"out/Result_{index}/{files[spec.name]}", b"")
            if len(content) != spec.nbytes:
                raise WorkerError(f"{self.address} gave {len(content)} bytes of '{spec.name}', not {spec.nbytes}")
            outputs[spec.name] = np.frombuffer(content, spec.dtype).reshape(spec.shape)
        return outputs

    def _note_profile(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "profile.log"
            path.write_bytes(content)
            self.stages += read_profile(path).stages

    def _remove(self, place: str) -> None:
        try:
            self._way.shell(joined(["rm", "-rf", "--", place]))
        except EnvironmentLacksError:
            self._events.warn("device", f"{place} may be left on {self.address}: it cannot be reached")

    def close(self) -> None:
        """Remove what was put on the device, unless it shall stay."""
        if self._made and not self.options.keep:
            self._remove(self.folder)
        self._made = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
