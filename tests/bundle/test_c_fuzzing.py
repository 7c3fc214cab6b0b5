"""The C runtime's readers on 5,000 seeded mutations, under the address and undefined-behaviour sanitizers.

For minutes and with coverage as the guide: ``make fuzz`` (scripts/fuzz_c_runtime.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bundle.native import SANITIZERS, TESTS, call, compile_c
from fuzz_c_runtime import IMAGE, TARGETS, CTarget, manifest

MUTATIONS = 5000


@pytest.fixture(scope="module", params=sorted(TARGETS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CTarget, Path]:
    target = TARGETS[request.param]
    program = tmp_path_factory.mktemp("replay") / target.name
    return target, compile_c(program, [*target.files, TESTS / "replay.c"], *SANITIZERS)


def mutated(target: CTarget, random: Random) -> bytes:
    """One to four changes of a legal input: a word in place of another, or bytes put in, changed, cut or doubled."""
    data = bytearray(random.choice(target.seeds))
    for _ in range(random.randint(1, 4)):
        start, end = random.choice((a_word, some_bytes))(bytes(data), random)
        piece = random.choice(
            (random.choice(target.words), random.randbytes(random.randint(0, 3)), data[start:end] * 3)
        )
        data[start:end] = piece
    if random.random() < 0.1:
        del data[random.randrange(len(data) + 1) :]
    return bytes(data)


def replaced(target: CTarget) -> Iterator[bytes]:
    """Every word of every legal input in place of which stands every word of the language."""
    for seed in target.seeds:
        for match in re.finditer(rb"[^\s\0]+", seed):
            for word in target.words:
                yield seed[: match.start()] + word + seed[match.end() :]


def a_word(data: bytes, random: Random) -> tuple[int, int]:
    return random.choice([match.span() for match in re.finditer(rb"[^\s\0]+", data)] or [(0, 0)])


def some_bytes(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((0, 1, 2, 8)))


def replayed(program: Path, cases: list[bytes], folder: Path) -> str:
    """stderr of ``program`` for ``cases``; it must end well."""
    (folder / "cases").write_bytes(b"".join(len(case).to_bytes(4, "little") + case for case in cases))
    done = call(program, folder / "cases")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_mutations_neither_overflow_nor_leak(built: tuple[CTarget, Path], tmp_path: Path) -> None:
    target, program = built
    cases = [*target.seeds, *replaced(target), *(mutated(target, Random(seed)) for seed in range(MUTATIONS))]
    different = len(set(cases))
    assert different > 0.9 * MUTATIONS
    assert f"{len(cases)} cases" in replayed(program, cases, tmp_path)


@pytest.mark.parametrize("channels", ["5", "9", "40", "99999", "4294967299"])
def test_more_channels_than_a_picture_can_have_are_refused(channels: str, harness: Path, tmp_path: Path) -> None:
    """A digit above the largest number allowed once wrote the file's floats behind the room of the means."""
    many = ",".join(["41414141"] * min(int(channels), 4000))
    words = IMAGE.split("\t")
    for kept, shown in ((words, True), ([*words[:3], channels, *words[4:7], many, many], False)):
        (tmp_path / "model.txt").write_bytes(manifest("\t".join(kept)))
        done = call(harness, "manifest", tmp_path / "model.txt")
        accepted = "model.bin" in done.stdout
        assert done.returncode == 0 and accepted == shown


@pytest.mark.parametrize("line", ["input\ta%20b\tz", "input\tq\tx", "soc\t30", "output\tout/1\tz", "graph\tother"])
def test_what_is_said_twice_is_refused(line: str, harness: Path, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(manifest(line))
    assert "model.bin" not in call(harness, "manifest", tmp_path / "model.txt").stdout
