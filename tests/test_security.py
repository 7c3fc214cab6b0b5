"""The claims of SECURITY.md that no other test holds, and that every test it names exists."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from hexaquant.cli.run_results import write_outputs
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_json, read_yaml
from hexaquant.folder.commit import complete
from hexaquant.folder.manifest import verify_files
from hexaquant.frontends import load

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hexaquant"
PIPES_OF_OWN_PROCESSES = {"analysis/sweep.py", "analysis/sweep_child.py"}
"""Modules that unpickle what their own parent or child process wrote, never a file."""

FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNPICKLING = {"pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "torch.jit.load"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, dotted name of what is called, call) for every call in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.relative_to(PACKAGE).as_posix(), ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def test_the_package_evaluates_no_text_and_starts_no_shell():
    found = [f"{file}: {name}" for file, name, call in calls() if name in FORBIDDEN or keyword_is_true(call, "shell")]
    assert not found


def keyword_is_true(call: ast.Call, name: str) -> bool:
    return any(k.arg == name and not (isinstance(k.value, ast.Constant) and not k.value.value) for k in call.keywords)


def test_no_file_is_unpickled():
    found = [
        f"{file}: {name}" for file, name, _ in calls() if name in UNPICKLING and file not in PIPES_OF_OWN_PROCESSES
    ]
    assert not found
    readers = [(file, name, call) for file, name, call in calls() if name in ("np.load", "numpy.load", "torch.load")]
    assert {name for _, name, _ in readers} == {"np.load", "torch.load"}, "the scan sees the readers"
    for file, name, call in readers:
        safe = keyword(call, "allow_pickle") is False if name == "np.load" else keyword(call, "weights_only") is True
        assert safe, f"{file}: {name} may unpickle"


def test_pickled_arrays_are_refused(tmp_path):
    x = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> n (float[N, 2] x) => (float[N, 2] y) {y = Relu(x)}'
    )
    onnx.save(x, tmp_path / "n.onnx")
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}], object))
    from hexaquant.io.data import open_data

    with pytest.raises(InputError, match=r"data\.npz is not a readable \.npz file"):
        open_data(tmp_path / "data.npz", load(tmp_path / "n.onnx"))


def test_a_link_out_of_the_models_folder_is_refused(tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 64]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "n", [x], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(model, folder / "n.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").rename(tmp_path / "elsewhere.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(InputError, match="outside the model's folder"):
        load(folder / "n.onnx")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_a_manifest_cannot_point_outside_its_folder(name, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"")
    record = '{"sha256": "%s", "bytes": 0}' % ("0" * 64)
    (folder / "manifest.json").write_text(f'{{"format": 1, "files": {{"{name}": {record}}}}}')
    with pytest.raises(InputError, match="outside the artifact folder"):
        verify_files(folder)


@pytest.mark.parametrize("name", ["../secret", "away/secret"])
def test_an_unfinished_change_cannot_touch_files_outside_its_folder(name, tmp_path):
    folder, secret = tmp_path / "out", tmp_path / "secret"
    ready = folder / ".state" / "commit"
    ready.mkdir(parents=True)
    secret.write_text("kept")
    (folder / "away").symlink_to(tmp_path, target_is_directory=True)
    (ready / ".obsolete.json").write_text(json.dumps([name]))
    with pytest.raises(InputError, match="outside the artifact folder"):
        complete(folder)
    (ready / ".obsolete.json").unlink()
    (ready / "away").mkdir()
    (ready / "away" / "secret").write_text("forged")
    with pytest.raises(InputError, match="outside the artifact folder"):
        complete(folder)
    assert secret.read_text() == "kept"


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/b", "..", "."])
def test_output_names_cannot_leave_the_results_folder(name, tmp_path):
    folder = tmp_path / "results" / "Result_0"
    write_outputs(folder, {name: np.zeros(2, np.float32)}, "raw")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 1 and written[0].parent == folder


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi")),
        "[" * 3000 + "]" * 3000,
        "x: " + "9" * 1_000_000,
    ],
    ids=["aliases of aliases", "deep nesting", "a long integer"],
)
def test_settings_that_unfold_without_bound_are_refused(text, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        read_yaml(path, "settings")
    with pytest.raises(InputError):
        read_json(path, "settings")


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    for file, function in named:
        assert (ROOT / file).is_file(), file
        assert not function or f"def {function}(" in (ROOT / file).read_text(), f"{file}::{function}"
