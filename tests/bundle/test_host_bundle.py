"""The bundle for this PC on the emulator: the C programs and the Python runner give the bytes of ``hexaquant run``."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.conftest import LABELS, tree
from bundle.native import TESTS, call
from cli.command import hexaquant
from hexaquant.io.image_folder import ImageSpec, read_image
from hexaquant.qnn.profile import read_profile

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_c_example_on_100_images_gives_the_bytes_of_hexaquant_run(
    host: Path, out: Path, libraries: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    images = []
    for index, image in enumerate(pixels):
        images.append(tmp_path / f"{index:03}.ppm")
        images[-1].write_bytes(b"P6\n8 8\n255\n" + image.tobytes())
    spec = ImageSpec(mean=MEAN, std=STD)
    np.save(tmp_path / "x.npy", np.stack([read_image(path, spec, (8, 8), "NCHW") for path in images]))
    done = hexaquant("run", out, "--input", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "ours", "--workers", 1)
    assert done.code == 0, done.err
    words = (host / "build/classify", "--bundle", host, "--libraries", libraries, "--output", tmp_path / "theirs")
    shown = call(*words, *images)
    assert shown.returncode == 0, shown.stderr
    results = tree(tmp_path / "ours")
    assert len(results) == 100 and tree(tmp_path / "theirs") == results
    best = [int(np.frombuffer(results[f"Result_{i}/y.raw"], np.float32).argmax()) for i in range(100)]
    lines = [line.split() for line in shown.stdout.splitlines() if line.startswith("    ")]
    assert [(int(line[0]), line[2]) for line in lines] == [(index, LABELS[index]) for index in best]


def test_raw_pixels_and_raw_floats_are_images_too(host: Path, libraries: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / "a.ppm").write_bytes(b"P6 8 8 255 " + pixels.tobytes())
    pixels.tofile(tmp_path / "b.rgb")
    floats = (pixels.astype(np.float32) * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(STD)
    floats.transpose(2, 0, 1).tofile(tmp_path / "c.raw")
    files = [tmp_path / name for name in ("a.ppm", "b.rgb", "c.raw")]
    shown = call(host / "build/classify", "--bundle", host, "--libraries", libraries, "--top", 4, *files)
    answers = [part.split("\n", 1)[1] for part in shown.stdout.split(str(tmp_path))[1:]]
    assert len(answers) == 3 and len({"\n".join(sorted(a.split("\n"))) for a in answers}) == 1
    assert len(answers[0].strip().splitlines()) == 4


@pytest.mark.parametrize("stored", [False, True])
def test_input_lists_floats_and_stored_numbers(
    stored: bool, host: Path, out: Path, libraries: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    listed, flags = inputs, []
    if stored:
        np.random.default_rng(2).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8).tofile(tmp_path / "x.raw")
        listed, flags = tmp_path / "list.txt", ["--stored"]
        listed.write_text(f"{tmp_path}/x.raw\n")
        done = hexaquant("run", out, "--input-list", listed, "-o", tmp_path / "ours", "--native", "--workers", 1)
        assert done.code == 0, done.err
        expected = tree(tmp_path / "ours")
    words = ("--bundle", host, "--libraries", libraries, "--input-list", listed, *flags)
    for program in ((host / "build/hexaquant_run",), (sys.executable, host / "python/run.py")):
        shown = call(*program, *words, "--output", tmp_path / "theirs")
        assert shown.returncode == 0, shown.stderr
        assert "3" in shown.stdout.splitlines()  # the emulator prints a line of its own
        assert tree(tmp_path / "theirs") == expected
        shutil.rmtree(tmp_path / "theirs")


def test_paths_beside_the_list_and_names_before_them(
    host: Path, libraries: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    for file in inputs.parent.glob("*.raw"):
        shutil.copy(file, tmp_path)
    listed = tmp_path / "list.txt"
    listed.write_text("# a comment\nx:=a.raw\nb.raw\n")
    words = ("--bundle", host, "--libraries", libraries, "--input-list", listed)
    for program in ((host / "build/hexaquant_run",), (sys.executable, host / "python/run.py")):
        shown = call(*program, *words, "--output", tmp_path / "theirs")
        assert shown.returncode == 0, shown.stderr
        assert tree(tmp_path / "theirs") == expected
        shutil.rmtree(tmp_path / "theirs")
        listed_twice = tmp_path / "twice.txt"
        listed_twice.write_text("x:=a.raw x:=b.raw\n")
        shown = call(*program, *words[:-1], listed_twice, "--output", tmp_path / "theirs")
        assert shown.returncode == 2 and "twice" in shown.stderr


def test_an_npy_is_read_with_its_header_or_refused(
    host: Path, libraries: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    data = np.concatenate([np.fromfile(inputs.parent / name, np.float32) for name in ("a.raw", "b.raw")])
    np.save(tmp_path / "all.npy", data.reshape(-1, 3, 8, 8))
    listed = tmp_path / "list.txt"
    listed.write_text("all.npy\n")
    words = ("--bundle", host, "--libraries", libraries, "--input-list", listed, "--output", tmp_path / "theirs")
    shown = call(sys.executable, host / "python/run.py", *words)
    assert shown.returncode == 0 and tree(tmp_path / "theirs") == expected, shown.stderr
    shown = call(host / "build/hexaquant_run", *words)
    assert shown.returncode == 2 and "all.npy is no raw file" in shown.stderr


def test_both_runners_write_a_profile(host: Path, libraries: Path, inputs: Path, tmp_path: Path) -> None:
    words = ("--bundle", host, "--libraries", libraries, "--input-list", inputs, "--level", "detailed")
    for program in ((host / "build/hexaquant_run",), (sys.executable, host / "python/run.py")):
        log = tmp_path / "profile.log"
        shown = call(*program, *words, "--output", tmp_path / "results", "--profile", log)
        assert shown.returncode == 0, shown.stderr
        profile = read_profile(log)
        assert [stage.kind for stage in profile.stages] == ["init", "execute", "execute", "execute"]
        assert profile.soc_model == 57 and all(stage.us > 0 and stage.events for stage in profile.stages)


def test_the_python_runner_needs_numpy_only(host: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(host / 'python')!r}); import hexaquant.bundle.runner as r; import json;"
        "print(r.__file__); print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    shown = call(sys.executable, "-c", code)
    file, modules = shown.stdout.splitlines()
    assert file.startswith(str(host))
    foreign = {m for m in json.loads(modules) if m not in sys.stdlib_module_names and not m.startswith("_")}
    assert foreign - {"numpy", "hexaquant"} <= {"sitecustomize", "cython_runtime", "distutils-precedence"}


def test_sanitized_program_on_the_emulator(
    checked_run: Path, host: Path, libraries: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Leaks inside Qualcomm's libraries are theirs: suppressed by the name of the library alone."""
    words = ("--bundle", host, "--libraries", libraries, "--input-list", inputs, "--output", tmp_path / "results")
    env = {"LSAN_OPTIONS": f"exitcode=99:suppressions={TESTS / 'vendor_leaks.supp'}"}
    shown = call(checked_run, *words, "--profile", tmp_path / "p.log", env=env)
    assert shown.returncode == 0, shown.stderr
    assert "runtime error" not in shown.stderr and tree(tmp_path / "results") == expected


def test_what_is_damaged_or_missing_is_said(
    host: Path, libraries: Path, inputs: Path, tmp_path: Path, checked_run: Path
) -> None:
    env = {"LSAN_OPTIONS": f"exitcode=99:suppressions={TESTS / 'vendor_leaks.supp'}"}
    binary = (host / "model.sm8650.bin").read_bytes()

    def attempt(content: bytes, rehash: bool, folder: Path = libraries) -> tuple[int, str]:
        bundle = tmp_path / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "model.sm8650.bin").write_bytes(content)
        text = (host / "model.txt").read_text()
        if rehash:
            text = text.replace(hashlib.sha256(binary).hexdigest(), hashlib.sha256(content).hexdigest())
            text = text.replace(f"\t{len(binary)}\n", f"\t{len(content)}\n")
        (bundle / "model.txt").write_text(text)
        words = ("--bundle", bundle, "--libraries", folder, "--input-list", inputs, "--output", tmp_path / "results")
        done = call(checked_run, *words, env=env)
        return done.returncode, done.stderr.strip().splitlines()[-1]

    flipped = binary[:-100] + bytes([binary[-100] ^ 1]) + binary[-99:]
    code, said = attempt(flipped, rehash=False)
    assert code == 2 and "error (hash)" in said and "SHA-256" in said
    code, said = attempt(binary[:20000], rehash=False)
    assert code == 2 and "error (hash)" in said
    for content in (binary[:20000], bytes(5000), b""):
        code, said = attempt(content, rehash=True)
        assert code == 2 and "error (binary)" in said, said
    code, said = attempt(binary, rehash=False, folder=tmp_path / "nothing")
    assert code == 4 and "error (library)" in said and "libQnnSystem.so" in said


def test_inputs_of_the_wrong_size_or_value_are_refused(host: Path, libraries: Path, tmp_path: Path) -> None:
    np.full((1, 3, 8, 8), np.nan, np.float32).tofile(tmp_path / "nan.raw")
    (tmp_path / "short.raw").write_bytes(bytes(700))
    nan = tmp_path / "nan.raw"
    cases = {
        f"{nan}": "NaN",
        f"{tmp_path}/short.raw": "700 bytes",
        "missing.raw": "missing.raw",
        f"{nan} other.raw": "",
        f"z:={nan}": "",
    }
    for program in ((host / "build/hexaquant_run",), (sys.executable, host / "python/run.py")):
        for line, words in cases.items():
            (tmp_path / "list.txt").write_text(line + "\n")
            given = ("--input-list", tmp_path / "list.txt", "--output", tmp_path / "results")
            shown = call(*program, "--bundle", host, "--libraries", libraries, *given)
            assert shown.returncode == 2 and words in shown.stderr, (line, shown.stderr)
            if line == "missing.raw":
                assert "cannot read" in shown.stderr or "there is no file" in shown.stderr
