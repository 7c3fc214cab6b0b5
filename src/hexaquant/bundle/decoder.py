"""What a bundle of a language model holds: binary, Genie's configuration, tokenizer, a C program that talks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hexaquant.bundle.platforms import Platform
from hexaquant.bundle.readme import build_commands
from hexaquant.htp.soc import Target

CONFIG = "genie_config.json"
SHARED = ("hq_platform.c", "hq_platform.h", "hexaquant_runtime.h")
"""Sources of the runtime that the program needs, too."""
GENIE = ("Genie", "QnnHtpNetRunExtensions")
"""Libraries beside those that any network needs."""


@dataclass(frozen=True)
class DecoderCard:
    """``config``: genie_config.json as the platform needs it; ``others``: files that are copied, like tokenizer.json;
    ``turns``: text before the first question, before a later one, behind each (the chat template)."""

    name: str
    target: Target
    scheme: str
    context: int
    binary: Path
    config: str
    others: tuple[Path, ...]
    turns: tuple[str, str, str]


def library_names(card: DecoderCard, platform: Platform) -> tuple[str, ...]:
    """File names of Qualcomm's libraries that the program needs."""
    shape = "{}.dll" if not platform.posix else "lib{}.so"
    own = GENIE if platform.npu else GENIE[:1]
    return (*(shape.format(name) for name in own), *platform.library_files(card.target.arch))


def decoder_contents(card: DecoderCard, platform: Platform, made_by: str) -> dict[str, bytes]:
    """All files of the bundle but the copied ones, the binary and the manifest."""
    source = files("hexaquant.bundle")
    found = {f"c/{entry.name}": entry.read_bytes() for entry in (source / "chat").iterdir() if entry.is_file()}
    found |= {f"c/{name}": (source / "c" / name).read_bytes() for name in SHARED}
    if platform.toolchain:
        found[f"toolchains/{platform.toolchain}"] = (source / "c" / "toolchains" / platform.toolchain).read_bytes()
    for name, text in zip(("first", "next", "end"), card.turns, strict=True):
        found[f"chat/{name}.txt"] = text.encode()
    found[CONFIG] = card.config.encode()
    found["README.md"] = _readme(card, platform, made_by).encode()
    return dict(sorted(found.items()))


def _readme(card: DecoderCard, platform: Platform, made_by: str) -> str:
    libraries = "\n".join(f"* `{name}`" for name in library_names(card, platform))
    copy = ""
    if platform.name == "android":
        copy = "    adb push . /data/local/tmp/model && adb shell\n    cd /data/local/tmp/model\n"
    where = '    export LD_LIBRARY_PATH=$PWD/lib ADSP_LIBRARY_PATH="$PWD/lib"\n' if platform.npu else ""
    program = "build/hexaquant_chat"
    if not platform.posix:
        where, program = "    set ADSP_LIBRARY_PATH=lib\n", "build\\Release\\hexaquant_chat"
    emulator = "" if platform.npu else " They emulate the NPU: the numbers are the NPU's, the times are not."
    return f"""# {card.name} on {platform.title}

Made by {made_by}: scheme {card.scheme}, context of {card.context} tokens, compiled for {card.target}. It runs on that
SoC only. `{CONFIG}` was made from the network: Genie takes wrong numbers in it in silence and talks nonsense.

## Qualcomm's libraries

They are Qualcomm's, under Qualcomm's licence, and not part of this folder. Put into a folder `lib/` beside this file:

{libraries}

They come with Qualcomm's AI Runtime SDK (QAIRT), those for a PC also with the wheel `onnxruntime-qnn`.{emulator}

## Build

    {build_commands(platform)}

## Run

{copy}{where}    {program} --libraries lib --prompt "Hello" --tokens 32
    {program} --libraries lib

The second asks every line of the standard input and remembers what was said. `--plain` leaves the chat template out.
"""
