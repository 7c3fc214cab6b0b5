"""Other people's networks, from file to binary: ``scripts/gallery.py --PART`` (packages, tflite, hf, torch, keras,
recurrent).

Each part lies in its own module under scripts/gallery and says what it needs. Results: JSON under --out and a summary.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

PARTS = {
    "packages": "packages",
    "tflite": "tflite",
    "hf": "hf",
    "torch": "torch_zoo",
    "keras": "keras_zoo",
    "recurrent": "recurrent",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for part, module in PARTS.items():
        parser.add_argument(f"--{part}", action="store_true", help=f"scripts/gallery/{module}.py")
    parser.add_argument("--measure", action="store_true", help="on the emulator where the part only plans otherwise")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder for the results")
    parser.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    chosen = [module for part, module in PARTS.items() if getattr(options, part)]
    if not chosen:
        parser.error(f"say which part: {', '.join(f'--{part}' for part in PARTS)}")
    for module in chosen:
        import_module(f"gallery.{module}").run(options.names, options.out, options.measure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
