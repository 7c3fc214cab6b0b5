"""Plausible samples for the gallery's networks: crops of real pictures, lines of text, synthetic speech, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[np.float32]
Samples = dict[str, npt.NDArray[np.generic]]

PICTURES = "astronaut.png chelsea.png coffee.png rocket.jpg motorcycle_left.png retina.jpg ihc.png page.png text.png"
"""Of scikit-image's package; the pictures of foolbox's come with them."""
WORDS = ("Total", "Invoice", "2024-11-28", "quantized", "north", "EXIT", "4711", "open", "paper", "19.90 EUR", "name")
RATE = 16000


def pictures(folders: Mapping[str, Path], size: tuple[int, int], count: int, seed: int) -> Iterator[Array]:
    """``count`` crops (H, W, 3) of 0..255, half of them with text written on them."""
    rng = np.random.default_rng(seed)
    files = [folders["scikit-image"] / "skimage" / "data" / name for name in PICTURES.split()]
    files += sorted((folders["foolbox"] / "foolbox" / "data").glob("imagenet_*"))
    for index in range(count):
        with Image.open(files[int(rng.integers(len(files)))]) as file:
            picture = file.convert("RGB")
        side = int(min(picture.size) * rng.uniform(0.5, 1.0))
        left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
        crop = picture.crop((left, top, left + side, top + side)).resize((size[1], size[0]))
        if index % 2:
            _write(crop, rng)
        yield np.asarray(crop, np.float32)


def _write(picture: Image.Image, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        at = (int(rng.integers(picture.width // 2)), int(rng.integers(picture.height - 20)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.text(at, " ".join(rng.choice(WORDS, 2)), colour, ImageFont.load_default(int(rng.integers(12, 30))))


def text_lines(height: int, width: int, count: int, seed: int) -> Iterator[Array]:
    """``count`` pictures (H, W, 3) of 0..255 of one line of dark text on a light ground, or the other way round."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        dark, light = (tuple(int(v) for v in rng.integers(*limits, 3)) for limits in ((0, 90), (165, 256)))
        ground, ink = (light, dark) if index % 3 else (dark, light)
        line = Image.new("RGB", (width, height), ground)
        words = " ".join(rng.choice(WORDS, 3))
        ImageDraw.Draw(line).text((int(rng.integers(2, 12)), 6), words, ink, ImageFont.load_default(height * 0.6))
        noisy = np.asarray(line, np.float32) + rng.normal(0, 6, (height, width, 3))
        yield np.clip(noisy, 0, 255).astype(np.float32)


def speech(seconds: float, seed: int) -> Array:
    """Vowels (glottal pulses through three formants), hisses and pauses, in noise; (samples,), within -1..1."""
    rng = np.random.default_rng(seed)
    parts: list[npt.NDArray[np.float64]] = []
    while sum(map(len, parts)) < seconds * RATE:
        length = int(rng.uniform(0.08, 0.3) * RATE)
        kind = rng.random()
        sound = np.zeros(length) if kind < 0.25 else rng.normal(0, 0.1, length) if kind < 0.4 else _vowel(length, rng)
        parts.append(sound * np.hanning(length) * rng.uniform(0.3, 1.0))
    whole = np.concatenate(parts)[: int(seconds * RATE)]
    return np.clip(whole + rng.normal(0, 0.003, len(whole)), -1, 1).astype(np.float32)


def _vowel(length: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    time = np.arange(length) / RATE
    pitch = rng.uniform(90, 240)
    formants = rng.uniform([300, 900, 2200], [800, 2000, 3000])
    harmonics = np.arange(1, int(7000 / pitch)) * pitch
    gains = sum(np.exp(-(((harmonics - f) / 150) ** 2)) for f in formants) / np.sqrt(harmonics / pitch)
    waves = gains[:, None] * np.sin(2 * np.pi * harmonics[:, None] * time + rng.uniform(0, 6.3, (len(harmonics), 1)))
    whole = waves.sum(0)
    return whole / max(float(np.abs(whole).max()), 1e-6) * 0.7


def file_bytes(root: Path, count: int, seed: int) -> npt.NDArray[np.int32]:
    """First and last 1024 bytes of ``count`` files under ``root``, padded with 256, as magika takes them: (N, 2048)."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 64)
    rows = []
    for index in rng.choice(len(files), count, replace=False):
        data = files[int(index)].read_bytes().strip()
        first, last = data[:1024], data[-1024:]
        rows.append([*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last])
    return np.asarray(rows, np.int32)
