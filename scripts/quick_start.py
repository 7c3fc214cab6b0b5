"""Runs the ONNX part of docs/quickstart.md as it stands there, with the hexaquant of a given environment.

    python scripts/quick_start.py build/wheel-venv/bin

In a new folder: the network that the page takes for granted, then the page's make_data.py and its commands. For trying
an installed package, so nothing of this checkout is on the path but the page itself.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "quickstart.md"
NETWORK = """
import numpy as np, onnx
weights = np.random.default_rng(0)
model = onnx.parser.parse_model('''<ir_version: 10, opset_import: ["" : 21]>
net (float[N,3,16,16] input) => (float[N,10] output) {
    c = Conv <pads=[1,1,1,1]> (input, w)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    output = Gemm (f, w2)
}''')
for name, shape in (("w", (8, 3, 3, 3)), ("w2", (8, 10))):
    array = weights.standard_normal(shape).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
onnx.save(model, "net.onnx")
"""


def steps(page: str) -> tuple[str, list[list[str]]]:
    """(make_data.py, the commands of the ONNX tab) as they stand on the page."""
    tab = page.partition('=== "ONNX"')[2].partition("\n=== ")[0]
    script = re.search(r"```python\n(.*?)```", tab, re.DOTALL)
    commands = re.findall(r"^\s*\$ (.+)$", tab, re.MULTILINE)
    if script is None or not commands:
        sys.exit(f"{PAGE} has no script or no commands in its ONNX tab; correct scripts/quick_start.py")
    return re.sub(r"^ {4}", "", script[1], flags=re.MULTILINE), [shlex.split(command) for command in commands]


def main(programs: Path) -> None:
    script, commands = steps(PAGE.read_text(encoding="utf-8"))
    environment = os.environ | {"PATH": f"{programs.resolve()}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory(prefix="hexaquant-quick-start-") as name:
        Path(name, "make_data.py").write_text(script, encoding="utf-8")
        for command in [["python", "-c", NETWORK], ["hexaquant", "--version"], *commands]:
            print("$", shlex.join(command)[:120], flush=True)
            subprocess.run(command, cwd=name, env=environment, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
