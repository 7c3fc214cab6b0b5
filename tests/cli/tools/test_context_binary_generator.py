"""qnn-context-binary-generator: binaries with a manifest, HTP options from a config file, refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.tools.programs import program
from hexaquant.cli.tools.context_binary_generator import read_config
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import verify_files
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.profile import read_profile

NAME = "qnn-context-binary-generator"


def test_config_file_decides_and_the_manifest_says_so(dlc: Path, tmp_path: Path) -> None:
    options = {"graphs": {"vtcm_mb": 4, "O": 1.0}, "devices": [{"soc_model": 43, "dsp_arch": "v73", "cores": []}]}
    (tmp_path / "htp.json").write_text(json.dumps(options))
    extension = {"shared_library_path": "x/libQnnHtpNetRunExtensions.so", "config_file_path": "htp.json"}
    (tmp_path / "cfg.json").write_text(json.dumps({"backend_extensions": extension}))
    done = program(NAME, "--dlc_path", dlc, "--binary_file", "net", "--output_dir", tmp_path / "o",
                   "--config_file", tmp_path / "cfg.json")  # fmt: skip
    assert done.code == 0, done.err
    assert "cores" in done.err
    manifest = verify_files(tmp_path / "o", ["net.bin"])
    section = manifest.sections["context net.bin"]
    graph = section["graphs"]["model"]
    assert (section["target"], graph["o_level"], graph["vtcm_mb"]) == ("sm8550", 1, 4)
    program("qnn-context-binary-utility", "--context_binary", tmp_path / "o" / "net.bin",
            "--json_file", tmp_path / "net.json")  # fmt: skip
    info = json.loads((tmp_path / "net.json").read_text())["info"]
    assert info["socModel"] == 43
    (tensor,) = (one["info"] for one in info["graphs"][0]["info"]["graphInputs"])
    assert (tensor["name"], tensor["dimensions"]) == ("x", [1, 3, 8, 8])
    assert tensor["dataType"] == "QNN_DATATYPE_UFIXED_POINT_8"
    assert tensor["quantizeParams"]["scaleOffset"].keys() == {"scale", "offset"}


def test_a_script_for_the_originals_runs_unchanged(dlc: Path, binary: Path, listed: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, module in ((NAME, "context_binary_generator"), ("qnn-net-run", "net_run")):
        starter = f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; from hexaquant.cli.tools.{module} import main; '
        (scripts / name).write_text(starter + 'sys.exit(main())" "$@"\n')
        (scripts / name).chmod(0o755)
    script = f"""set -e
        {NAME} --backend libQnnHtp.so --model libQnnModelDlc.so --dlc_path {dlc} --binary_file net --log_level warn
        qnn-net-run --backend libQnnHtp.so --retrieve_context output/net.bin --input_list {listed.name}"""
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path / "wanted")
    for index in range(3):
        found, wanted = (tmp_path / folder / f"Result_{index}" / "y.raw" for folder in ("output", "wanted"))
        assert found.read_bytes() == wanted.read_bytes()


def test_a_lone_dlc_needs_a_soc(dlc: Path, tmp_path: Path) -> None:
    lone = Path(shutil.copy(dlc, tmp_path / "net.dlc"))
    arguments = ["--dlc_path", lone, "--binary_file", "net", "--output_dir", tmp_path / "o"]
    program(NAME, *arguments).assert_refused(2, "net.dlc", "--target_soc_model")
    assert not (tmp_path / "o").exists()
    lone.write_bytes(lone.read_bytes()[:500])
    program(NAME, *arguments, "--soc", "v75").assert_refused(2, "net.dlc")
    assert not list((tmp_path / "o").glob("*"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--dlc_path", "none.dlc"], ["none.dlc"]),
        (["--binary_file", "a/b"], ["a/b", "--output_dir"]),
        (["--backend", "libQnnGpu.so"], ["libQnnGpu.so"]),
        (["--model", "libnet.so"], ["libnet.so"]),
        (["--enable_intermediate_outputs"], ["--enable_intermediate_outputs", "not supported"]),
        (["--profiling_level", "optrace"], ["--profiling_level optrace", "detailed"]),
        (["--dlc_path", "a.dlc,b.dlc"], ["a.dlc"]),
        (["--soc", "sm8650,sm8650x"], ["sm8650x"]),
        (["--config_file", "none.json"], ["none.json"]),
        (["--soc", "sm9999"], ["sm9999"]),
        (["--frobnicate"], ["--frobnicate", "--help"]),
    ],
)
def test_what_is_refused(arguments: list[str], words: list[str], dlc: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    done = program(NAME, "--dlc_path", dlc, "--binary_file", "net", "--output_dir", out, *arguments)
    done.assert_refused(2, *words)
    assert done.out == "" and not out.exists()


@pytest.mark.parametrize(
    "content, words",
    [
        ({"graphs": [{"hvx_threads": 4}]}, "'hvx_threads' in graphs"),
        ({"graphs": [{"O": 4}]}, "O is 4"),
        ({"graphs": [1]}, "list of objects"),
        ({"devices": [{"soc_model": 57, "dsp_arch": "v73"}]}, "v75, not v73"),
        ({"devices": [{"soc_model": 12345}]}, "12345"),
        ({"context": [{"weight_sharing_enabled": 1}]}, "give true or false"),
        ({"context": {"async_init": True}}, "'async_init' in context"),
        ({"groups": []}, "'groups' in the file"),
        ({"backend_extensions": {"shared_library_path": "libQnnGpuNetRunExtensions.so"}}, "libQnnGpu"),
        ({"backend_extensions": {"shared_library_path": "libQnnHtpNetRunExtensions.so"}}, "config_file_path"),
        ([1], "JSON object"),
    ],
)
def test_config_keys_are_obeyed_or_refused(content: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_config(tmp_path / "cfg.json")


def test_weights_of_equal_graphs_are_there_once_when_the_config_says_so(dlc: Path, tmp_path: Path) -> None:
    first, second = (Path(shutil.copy(dlc, tmp_path / f"{name}.dlc")) for name in ("first", "second"))
    sizes = {}
    for shared in (False, True):
        options = {"context": {"weight_sharing_enabled": shared}, "memory": {"mem_type": "shared_buffer"}}
        (tmp_path / "cfg.json").write_text(json.dumps(options))
        out = tmp_path / str(shared)
        done = program(NAME, "--dlc_path", f"{first},{second}", "--binary_file", "both", "--output_dir", out,
                       "--config_file", tmp_path / "cfg.json", "--soc", "sm8650")  # fmt: skip
        assert done.code == 0, done.err
        assert ("cannot load it" in done.err) == shared and "mem_type act" in done.err
        sizes[shared] = (out / "both.bin").stat().st_size
    assert sizes[True] < sizes[False]


def test_config_and_command_line_must_agree(dlc: Path, tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text('{"devices": [{"dsp_arch": "v73"}]}')
    arguments = ["--dlc_path", dlc, "--binary_file", "net", "--config_file", tmp_path / "cfg.json", "--soc", "sm8650"]
    program(NAME, *arguments).assert_refused(2, "sm8650", "sm8550")
    (tmp_path / "cfg.json").write_text('{"graphs": [{"graph_names": ["other"]}]}')
    program(NAME, *arguments).assert_refused(2, "'other'", "graph_names", "model")
    (tmp_path / "cfg.json").write_text('{"graphs": [{"O": 1}, {"graph_names": ["model"]}]}')
    program(NAME, *arguments).assert_refused(2, "'model' twice")


def test_several_socs_give_a_binary_each(dlc: Path, tmp_path: Path) -> None:
    done = program(NAME, "--dlc_path", dlc, "--binary_file", "net", "--output_dir", tmp_path / "o",
                   "--soc", "SM8650,v73", "--profiling_level", "basic")  # fmt: skip
    assert done.code == 0, done.err
    socs = {name: inspect_binary(tmp_path / "o" / f"net.{name}.bin").soc_model for name in ("sm8650", "sm8550")}
    assert socs == {"sm8650": 57, "sm8550": 43}
    profiles = [read_profile(tmp_path / "o" / f"qnn-profiling-data_{index}.log") for index in (0, 1)]
    assert [profile.soc_model for profile in profiles] == [57, 43]
    assert all(stage.graph == "model" for profile in profiles for stage in profile.stages)


def test_several_dlcs_are_the_graphs_of_one_binary_and_each_runs_on_its_list(
    dlc: Path, binary: Path, listed: Path, tmp_path: Path
) -> None:
    first, second = (Path(shutil.copy(dlc, tmp_path / f"{name}.dlc")) for name in ("first", "second"))
    options = {"graphs": [{"vtcm_mb": 4, "graph_names": ["first"], "O": 1}, {"graph_names": ["second"], "vtcm_mb": 4}]}
    (tmp_path / "cfg.json").write_text(json.dumps(options))
    done = program(NAME, "--dlc_path", f"{first},{second}", "--binary_file", "both", "--output_dir", tmp_path / "o",
                   "--config_file", tmp_path / "cfg.json", "--soc", "sm8650")  # fmt: skip
    assert done.code == 0, done.err
    section = verify_files(tmp_path / "o", ["both.bin"]).sections["context both.bin"]["graphs"]
    assert [(g["o_level"], g["vtcm_mb"]) for g in section.values()] == [(1, 4), (3, 4)]
    both = tmp_path / "o" / "both.bin"
    done = program(
        "qnn-net-run", "--retrieve_context", both, "--input_list", f"{listed},{listed}", "--output_dir", tmp_path
    )
    assert done.code == 0, done.err
    program("qnn-net-run", "--retrieve_context", both, "--input_list", f"__,{listed}", "--output_dir", tmp_path / "s")
    program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path / "wanted")
    wanted = (tmp_path / "wanted" / "Result_1" / "y.raw").read_bytes()
    for folder in ("first", "second", "s"):
        assert (tmp_path / folder / "Result_1" / "y.raw").read_bytes() == wanted
    done = program("qnn-net-run", "--retrieve_context", both, "--input_list", listed, "--output_dir", tmp_path / "n")
    done.assert_refused(2, "first, second", "__")
    (tmp_path / "cfg.json").write_text('{"graphs": [{"graph_names": ["first"], "vtcm_mb": 2}]}')
    done = program(NAME, "--dlc_path", f"{first},{second}", "--binary_file", "both", "--output_dir", tmp_path / "o",
                   "--config_file", tmp_path / "cfg.json", "--soc", "sm8650")  # fmt: skip
    done.assert_refused(2, "vtcm_mb", "same")
