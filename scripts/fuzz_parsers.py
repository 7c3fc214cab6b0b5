"""Fuzz the parsers of files from outside: coverage-guided with atheris, or seeded variations alone.

Usage: fuzz_parsers.py TARGET [--seconds 600] [--plain COUNT] [--findings DIR]; TARGET "list" names them.
A finding (a crash, a hang, memory growth, an error that is no HexaquantError) is written into the findings folder.
atheris is the extra [fuzz]. One target a process, for libFuzzer owns it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

from fuzzing.targets import FuzzTarget, targets

LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=65536")
"""libFuzzer's: seconds one file may take, memory of the process, bytes of a file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--plain", type=int, default=0, metavar="COUNT", help="so many seeded variations, no atheris")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    known = targets()
    if options.target not in known:
        sys.exit(f"targets: {', '.join(known)}")
    folder = options.findings / options.target
    folder.mkdir(parents=True, exist_ok=True)
    if options.plain:
        sys.exit(1 if vary(known[options.target], options.plain, folder) else 0)
    guided(known[options.target], options.seconds, folder)


def vary(target: FuzzTarget, count: int, findings: Path) -> int:
    """Feed ``count`` variations of the seeds; the number that led to a defect."""
    defects, began = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            random = Random(number)
            data = target.vary(random.choice(target.seeds), random)
            try:
                target.feed(data, Path(folder))
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                key = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"[:300]
                if key not in defects:
                    (findings / f"plain-{number}").write_bytes(data)
                    print(f"{target.name} {number}: {key}", flush=True)
                defects[key] = number
    print(f"{target.name}: {count} files, {len(defects)} defects, {time.monotonic() - began:.0f} s")
    return len(defects)


def guided(target: FuzzTarget, seconds: int, findings: Path) -> None:
    """Fuzz for ``seconds`` with coverage of this package as the guide."""
    import atheris

    with atheris.instrument_imports(include=["hexaquant"]), tempfile.TemporaryDirectory() as first:
        target.feed(target.seeds[0], Path(first))
    corpus, folder = findings / "corpus", tempfile.TemporaryDirectory()
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        target.feed(data, Path(folder.name))

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        varied = target.vary(data, random) if random.random() < 0.8 else atheris.Mutate(data, max_size)
        return bytes(varied[:max_size])

    limits = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
