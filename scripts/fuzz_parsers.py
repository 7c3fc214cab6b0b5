"""Fuzz the parsers of files from outside: coverage-guided with atheris, or seeded variations alone.

Usage: fuzz_parsers.py TARGET [--seconds 600] [--plain COUNT] [--findings DIR]; TARGET "list" names them.
A finding (a crash, a hang, memory growth, an error that is no HexaquantError) is written into the findings folder.
atheris is the extra [fuzz]. One target a process, for libFuzzer owns it.
"""

from __future__ import annotations

import argparse
import hashlib
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


class Findings:
    """The distinct defects met so far, each with the file that showed it in ``folder``."""

    def __init__(self, target: FuzzTarget, folder: Path) -> None:
        self.target, self.folder = target, folder
        self.places: set[str] = set()

    def feed(self, data: bytes, scratch: Path) -> None:
        """Parse ``data``; note what is neither a result nor a HexaquantError, once for each place in the code."""
        try:
            self.target.feed(data, scratch)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"
            if place not in self.places:
                self.places.add(place)
                file = self.folder / f"defect-{hashlib.sha256(data).hexdigest()[:12]}"
                file.write_bytes(data)
                print(f"DEFECT {self.target.name}: {place}: {str(error)[:200]} ({file})", flush=True)


def vary(target: FuzzTarget, count: int, folder: Path) -> int:
    """Feed ``count`` variations of the seeds; the number of distinct defects."""
    found, began = Findings(target, folder), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(count):
            random = Random(number)
            found.feed(target.vary(random.choice(target.seeds), random), Path(scratch))
    print(f"{target.name}: {count} files, {len(found.places)} defects, {time.monotonic() - began:.0f} s")
    return len(found.places)


def guided(target: FuzzTarget, seconds: int, folder: Path) -> None:
    """Fuzz for ``seconds`` with coverage of this package as the guide."""
    import atheris

    with atheris.instrument_imports(include=["hexaquant"]), tempfile.TemporaryDirectory() as first:
        target.feed(target.seeds[0], Path(first))
    corpus, scratch, found = folder / "corpus", tempfile.TemporaryDirectory(), Findings(target, folder)
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        found.feed(data, Path(scratch.name))

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        varied = target.vary(data, random) if random.random() < 0.8 else atheris.Mutate(data, max_size)
        return bytes(varied[:max_size])

    limits = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
