"""qnn-net-run writes what Runtime gives, bit for bit, and obeys or refuses every flag."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cli.command import hexaquant
from cli.tiny import samples
from cli.tools.programs import program
from hexaquant.cli.tools.net_run import Forms, write_result
from hexaquant.qnn import runtime_process
from hexaquant.qnn.runtime import Runtime
from hexaquant.qnn.tensor_io import TensorSpec, to_native


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.raw")}


def test_float_outputs_are_those_of_hexaquant_run(binary: Path, listed: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert hexaquant("run", binary, "--input-list", listed, "-o", ours).code == 0
    done = program("qnn-net-run", "--backend", "lib/libQnnHtp.so", "--retrieve_context", binary,
                   "--input_list", listed, f"--output_dir={theirs}")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == "" and "3 inferences" in done.err
    assert contents(theirs) == contents(ours)
    assert sorted(contents(theirs)) == [f"Result_{i}/y.raw" for i in range(3)]


def test_the_process_that_tells_the_inputs_runs_the_samples(
    binary: Path, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    start = runtime_process.start_child

    def count(*arguments: Any) -> Any:
        opened.append(start(*arguments))
        return opened[-1]

    monkeypatch.setattr(runtime_process, "start_child", count)
    assert hexaquant("run", binary, "--input-list", listed, "-o", tmp_path / "ours", "--workers", 1).code == 0
    assert len(opened) == 1
    done = program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed,
                   "--output_dir", tmp_path / "theirs", "--profiling_level", "basic")  # fmt: skip
    assert done.code == 0, done.err
    assert len(opened) == 2 and contents(tmp_path / "theirs") == contents(tmp_path / "ours")


def test_native_files_hold_what_the_graph_stores(binary: Path, listed: Path, tmp_path: Path) -> None:
    with Runtime(binary, float_io=False) as runtime:
        spec = runtime.inputs[0]
        stored = [to_native(sample[None], spec) for sample in samples(3)]
        wanted = [runtime.run({"x": one})["y"] for one in stored]
    for index, one in enumerate(stored):
        one.tofile(tmp_path / f"x{index}.raw")
    done = program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path / "o",
                   "--use_native_input_files", "--use_native_output_files")  # fmt: skip
    assert done.code == 0, done.err
    found = contents(tmp_path / "o")
    assert found == {f"Result_{i}/y_native.raw": y.tobytes() for i, y in enumerate(wanted)}


def test_repeats_the_list_keeps_the_first_outputs_and_writes_both_forms(
    binary: Path, listed: Path, tmp_path: Path
) -> None:
    listed.write_text("%y\n" + listed.read_text())
    done = program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path / "o",
                   "--num_inferences", 5, "--keep_num_outputs", 4, "--output_data_type",
                   "float_and_native")  # fmt: skip
    assert done.code == 0, done.err
    assert "5 inferences" in done.err
    found = contents(tmp_path / "o")
    assert sorted(found) == sorted(f"Result_{i}/y{end}.raw" for i in range(4) for end in ("", "_native"))
    assert found["Result_3/y.raw"] == found["Result_0/y.raw"] != found["Result_1/y.raw"]


def test_dlc_compiled_on_the_fly_gives_the_same(dlc: Path, binary: Path, listed: Path, tmp_path: Path) -> None:
    common = ["--input_list", listed, "--log_level", "error"]
    done = program("qnn-net-run", "--dlc_path", dlc, "--model", "libQnnModelDlc.so", "--soc", "SM8650",
                   "--output_dir", tmp_path / "dlc", *common)  # fmt: skip
    assert (done.code, done.err) == (0, "")
    program("qnn-net-run", "--retrieve_context", binary, "--output_dir", tmp_path / "bin", *common)
    assert contents(tmp_path / "dlc") == contents(tmp_path / "bin") != {}


def test_several_inputs_by_name_in_any_order_or_bare_in_the_networks(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
        pair (float[1,4] z, float[1,4] a) => (float[1,4] y) { y = Sub (z, a) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "pair.onnx")
    rng = np.random.default_rng(0)
    z, a = rng.standard_normal((2, 6, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", z=z[:, 0], a=3 * a[:, 0])
    out = tmp_path / "out"
    for command in (["quantize", tmp_path / "pair.onnx", "--data", tmp_path / "data.npz", "-o", out], ["compile", out]):
        done = hexaquant(*command)
        assert done.code == 0, done.err
    z[0].tofile(tmp_path / "z.raw")
    a[0].tofile(tmp_path / "a.raw")
    (tmp_path / "list.txt").write_text("a:=a.raw z:=z.raw\nz.raw a.raw\na.raw z.raw\n")
    done = program("qnn-net-run", "--dlc_path", out / "model.dlc", "--input_list", tmp_path / "list.txt",
                   "--output_dir", tmp_path / "o")  # fmt: skip
    assert done.code == 0, done.err
    with Runtime(out / "model.sm8650.bin") as runtime:
        wanted = runtime.run({"z": z[0], "a": a[0]})["y"]
    found = [np.fromfile(tmp_path / "o" / f"Result_{i}" / "y.raw", np.float32) for i in range(3)]
    assert np.array_equal(found[0], wanted[0]) and np.array_equal(found[1], wanted[0])
    assert not np.array_equal(found[2], wanted[0])


def test_names_are_sanitised_and_must_stay_apart(tmp_path: Path) -> None:
    specs = [TensorSpec(name, (2,), np.dtype(np.uint8), 0.5, -1) for name in ("/head/out:0", "b")]
    found = {spec.name: np.array([1, 3], np.uint8) for spec in specs}
    write_result(tmp_path, found, specs, Forms(True, False))
    assert np.fromfile(tmp_path / "_head_out_0.raw", np.float32).tolist() == [0.0, 1.0]
    clash = [TensorSpec(name, (2,), np.dtype(np.uint8), 0.5, -1) for name in ("a/b", "a:b")]
    with pytest.raises(Exception, match="rename"):
        write_result(tmp_path, {s.name: found["b"] for s in clash}, clash, Forms(True, False))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--perf_profile", "burst"], ["--perf_profile", "not supported", "device"]),
        (["--profiling_level=backend"], ["--profiling_level backend", "detailed"]),
        (["--profiling_option", "optrace"], ["--profiling_option", "SDK", "detailed"]),
        (["--native_input_tensor_names", "z"], ["'z'", "x"]),
        (["--input_data_type", "float", "--use_native_input_files"], ["contradicts"]),
        (["--input_list", "a,b"], ["2 lists", "1 graphs"]),
        (["--input_list", "__"], ["skips every graph"]),
        (["--bogus"], ["--bogus", "qnn-net-run --help"]),
        (["--backend", "libQnnCpu.so"], ["libQnnCpu.so", "libQnnHtp.so"]),
        (["--model", "libnet.so"], ["libnet.so", "--dlc_path"]),
        (["--num_inferences", "0"], ["--num_inferences", "at least 1"]),
        (["--soc", "sm8550"], ["57", "43"]),
        (["--retrieve_context", "none.bin"], ["none.bin"]),
        (["--input_list", "none.txt"], ["none.txt"]),
        (["--dlc_path", "net.dlc"], ["either --retrieve_context"]),
        (["--use_native_output_files", "--output_data_type", "float_only"], ["contradict"]),
    ],
)
def test_what_is_refused(arguments: list[str], words: list[str], binary: Path, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    done = program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", out, *arguments)
    done.assert_refused(2, *words)
    assert done.out == "" and not out.exists()


def test_missing_raw_file_and_unknown_output(binary: Path, listed: Path, tmp_path: Path) -> None:
    arguments = ["--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path / "o"]
    listed.write_text("%conv1\nx0.raw\n")
    program("qnn-net-run", *arguments).assert_refused(2, "'conv1'", "y")
    listed.write_text("x0.raw\nx9.raw\n")
    program("qnn-net-run", *arguments).assert_refused(2, "line 2", "x9.raw")
    assert not (tmp_path / "o").exists()


def test_damaged_binary(room: Path, listed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(room / "deployed", tmp_path / "deployed"))
    file = folder / "model.sm8650.bin"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = program("qnn-net-run", "--retrieve_context", file, "--input_list", listed, "--output_dir", tmp_path / "o")
    done.assert_refused(2, "damaged", "SHA-256")
