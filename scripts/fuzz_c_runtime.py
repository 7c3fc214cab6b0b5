"""Fuzz the readers of the C runtime with libFuzzer under the address and undefined-behaviour sanitizers.

    python scripts/fuzz_c_runtime.py [--seconds 600] [TARGET ...]

Needs clang (Debian: clang libclang-rt-14-dev). Prints a line a target: inputs tried, seconds, edges covered, findings;
a finding's input is kept under build/fuzz-c/. tests/bundle/test_c_fuzzing.py runs the same targets on seeded mutations.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RUNTIME, TARGETS_FOLDER = ROOT / "src" / "hexaquant" / "bundle" / "c", ROOT / "tests" / "bundle" / "c"
SHARED = tuple(RUNTIME / name for name in ("hq_manifest.c", "hq_platform.c", "hq_numbers.c"))
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-std=c11", "-g", "-O1", "-ffp-contract=off", f"-I{RUNTIME}")
LIBRARIES = ("-ldl", "-lm", "-pthread")

ONE = "3f800000"
IMAGE = f"image\t8\t8\t3\tRGB\tNCHW\t3b808081\t{ONE},{ONE},{ONE}\t{ONE},{ONE},{ONE}"
LINES = [
    "hexaquant-model\t1",
    "binary\tmodel.bin\t" + "ab" * 32 + "\t53248",
    "soc\t57",
    "graph\tmodel",
    "input\ta%20b\tx",
    "output\tout/1\ty",
]
PIXELS = bytes(range(18))
FLOATS = np.arange(18, dtype="<f4").tobytes()


@dataclass(frozen=True)
class CTarget:
    """``tests/bundle/c/fuzz_<name>.c``: its further sources, legal inputs, and words that its language has."""

    name: str
    sources: tuple[Path, ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return (TARGETS_FOLDER / f"fuzz_{self.name}.c", *SHARED, *self.sources)


def manifest(*more: str) -> bytes:
    return ("\n".join([*LINES, *more]) + "\n").encode()


TARGETS = {
    "manifest": CTarget(
        "manifest",
        (),
        (manifest(), manifest(IMAGE, "labels\tlabels.txt"), manifest(IMAGE.replace(f"{ONE},{ONE},{ONE}", ONE))),
        (
            b"image\t",
            b"99999",
            b"18446744073709551615",
            b"18446744073709551616",
            b"65536",
            b"%00",
            b"%41",
            b"\t",
            b"\n",
            b"7f800000",
            ONE.encode(),
            b",",
            b"NHWC",
            b"BGR",
            b"labels\t",
            b"input\t",
            b"output\t",
            b"binary\t",
            b"soc\t",
        ),
    ),
    "list": CTarget(
        "list",
        (RUNTIME / "app_io.c",),
        (
            b"# two lines\nx:=a.raw half:=b.raw ids:=c.raw\na b c\n\0" + bytes(16),
            b"% one\r\na.raw\tb.raw  c.raw\r\n\0" + FLOATS[:48],
            b"half:=b x:=a ids:=c\n\0" + np.array([3e38, -1.5, np.nan, 7], "<f4").tobytes(),
        ),
        (b":=", b"x:=", b"half:=", b"ids:=", b"\n", b"\r\n", b"\t", b"#", b"%", b"\0", b"a b c\n"),
    ),
    "image": CTarget(
        "image",
        (RUNTIME / "app_io.c",),
        (
            b"\0P6\n3 2\n255\n" + PIXELS,
            b"\1P5 2 3 255\n" + PIXELS[:6],
            b"\0" + PIXELS,
            b"\2" + FLOATS[:16],
            b"\4" + FLOATS[:24],
            b"\1" + np.array([0.5, -1, np.inf, 3, 4, 5], "<f4").tobytes(),
        ),
        (b"P6", b"P5", b" 255\n", b"4294967297", b"-1", b"65536", b"\n", b"# comment\n", b"99999999999999999999"),
    ),
}


def fuzz(target: CTarget, seconds: int, folder: Path) -> bool:
    """Run libFuzzer on ``target``; prints the figures and returns whether nothing was found."""
    program, corpus = folder / f"fuzz_{target.name}", folder / f"corpus_{target.name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    (folder / f"{target.name}.dict").write_text("".join(f'"{word}"\n' for word in words))
    fuzzer = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    subprocess.run(["clang", *FLAGS, *fuzzer, "-o", program, *target.files, *LIBRARIES], check=True)
    start = time.monotonic()
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    options = [f"-dict={folder / f'{target.name}.dict'}", f"-artifact_prefix={folder}/{target.name}-"]
    done = subprocess.run(
        [program, corpus, *limits, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    told = done.stderr.decode(errors="replace")
    tried = re.search(r"number_of_executed_units: (\d+)", told)
    covered = re.findall(r"cov: (\d+)", told)
    count, edges = int(tried[1]) if tried else 0, covered[-1] if covered else "0"
    took = time.monotonic() - start
    found = "0" if done.returncode == 0 else "1: " + next(iter(re.findall(r"SUMMARY: .*", told)), "see above")
    print(f"{target.name}: {count:,} inputs in {took:.0f} s, {edges} edges, findings: {found}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="time of each target (default: %(default)s)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    options = parser.parse_args()
    folder = ROOT / "build" / "fuzz-c"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    sound = [fuzz(target, options.seconds, folder) for target in chosen]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
