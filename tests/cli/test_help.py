"""Help, usage errors, and that neither loads a heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.command import hexaquant

COMMANDS = (
    "deploy",
    "quantize",
    "qat",
    "export",
    "compile",
    "run",
    "verify",
    "lint",
    "analyze",
    "debug",
    "info",
    "doctor",
)
HEAVY = ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxruntime_qnn", "numpy", "scipy", "rich", "yaml", "PIL")


def test_help_of_every_command_has_examples() -> None:
    top = hexaquant("--help")
    assert top.code == 0 and top.err == ""
    for command in COMMANDS:
        assert f"\n  {command} " in top.out
        result = hexaquant(command, "--help")
        assert result.code == 0 and result.err == ""
        assert f"  hexaquant {command}" in result.out.partition("Examples:")[2], command


def test_no_sentence_of_a_command_is_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = hexaquant("--help").out
    assert "..." not in shown.partition("Commands:")[2].partition("Examples:")[0]
    for command in COMMANDS:
        summary = " ".join(hexaquant(command, "--help").out.partition("\n\n")[2].partition("\n\n")[0].split())
        assert summary in " ".join(shown.split()), command


def test_options_of_deploy_stand_under_headings() -> None:
    shown = hexaquant("deploy", "--help").out
    headings = ["Arguments", "Data", "Image folders", "Target and quantization", "Verification", "Output", "Options"]
    assert [
        line[:-1] for line in shown.partition("Examples:")[0].splitlines() if line.endswith(":") and line[0] != " "
    ] == headings
    for heading, option in [
        ("Data", "--data"),
        ("Image folders", "--mean"),
        ("Target and quantization", "--scheme"),
        ("Output", "--output"),
        ("Verification", "--metric"),
    ]:
        assert option in shown.partition(f"\n{heading}:\n")[2].partition("\n\n")[0], (heading, option)


def test_help_says_that_functions_are_executed() -> None:
    text = " ".join(hexaquant("deploy", "--help").out.split())
    assert "executes that Python code" in text


@pytest.mark.parametrize("arguments", [["--help"], ["deploy", "--help"], ["--version"], ["deploy"]])
def test_no_heavy_module_is_loaded(arguments: list[str]) -> None:
    program = (
        "import sys; from hexaquant.cli.main import main; code = main(sys.argv[1:]); "
        f"loaded = [m for m in {HEAVY} if m in sys.modules]; print(loaded, file=sys.stderr); sys.exit(bool(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_version() -> None:
    import hexaquant as package

    assert hexaquant("--version").out.strip() == package.__version__


def test_no_command_shows_help_and_is_a_usage_error() -> None:
    result = hexaquant()
    assert result.code == 2 and result.out == "" and "Commands:" in result.err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["frobnicate"], ["frobnicate", "hexaquant --help"]),
        (["deploy"], ["MODEL", "hexaquant deploy --help"]),
        (["deploy", "net.onnx", "--bogus"], ["--bogus"]),
        (["compile", "out", "--o-level", "7"], ["--o-level", "3"]),
        (["verify", "out"], ["--data"]),
        (["run", "model.bin", "-o", "results"], ["--input"]),
    ],
)
def test_usage_errors(arguments: list[str], words: list[str]) -> None:
    result = hexaquant(*arguments)
    result.assert_refused(2, *words)
    assert result.out == ""


def test_the_shell_completes_targets_schemes_and_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_HEXAQUANT_COMPLETE", "complete_bash")
    for words, expected in (
        ("hexaquant deploy --target sm86", ["sm8650"]),
        ("hexaquant quantize --scheme w4", ["w4a8", "w4a16"]),
        ("hexaquant deploy --recipe b", ["best"]),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "3")
        result = hexaquant()
        assert (result.code, result.out.split(), result.err) == (0, expected, "")
