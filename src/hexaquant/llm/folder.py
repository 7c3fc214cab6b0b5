"""Beside the binaries: the FP32 network where it is nowhere else, tokenizer, Genie's configuration, README."""

from __future__ import annotations

import json
from pathlib import Path

from hexaquant.core.atomic import write_text
from hexaquant.llm.genie_config import CONFIG, EXTENSIONS, backend_extensions, dialog_config, sampler_of
from hexaquant.llm.graphs import graph_name
from hexaquant.llm.record import Record
from hexaquant.llm.source import Source, quiet

TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
README = "README.md"
PROMPT = "prompt.txt"
OWN_TOKENIZER = ".state/tokenizer"
"""The tokenizer in Hugging Face's form, with its chat template."""
FP32 = ".state/fp32"
"""The network in Hugging Face's form, of a module that was in memory only."""


def write_source(source: Source, draft: Path) -> str:
    """Where the FP32 network can be read again; a module in memory is written to FP32 first."""
    if source.path:
        return source.path
    with quiet():
        source.model.save_pretrained(draft / FP32)
    return FP32


def write_dialog(record: Record, source: Source, draft: Path) -> list[str]:
    """Tokenizer, configuration for the device, chat template, README; returns their names."""
    source.tokenizer.backend_tokenizer.save(str(draft / TOKENIZER))
    with quiet():
        source.tokenizer.save_pretrained(draft / OWN_TOKENIZER)
    write_text(draft / CONFIG, json.dumps(genie_document(record, source), indent=2))
    graphs = [graph_name(shapes) for shapes in record.shapes]
    write_text(draft / EXTENSIONS, json.dumps(backend_extensions(record.soc, graphs), indent=2))
    names = [TOKENIZER, CONFIG, EXTENSIONS, README]
    template = getattr(source.tokenizer, "chat_template", None)
    if isinstance(template, str):
        write_text(draft / TEMPLATE, template)
        names.append(TEMPLATE)
    write_text(draft / README, _readme(record, template is not None))
    return names


def genie_document(record: Record, source: Source) -> dict[str, object]:
    """genie_config.json for the device."""
    return dialog_config(
        record.form, record.rope, record.context, [record.device_binary],
        bos=record.bos, eos=record.eos, pad=record.pad, sampler=sampler_of(source.model),
    )  # fmt: skip


def _readme(record: Record, chat: bool) -> str:
    device = "/data/local/tmp/genie"
    return f"""# {record.name} for {record.target}

Weights and activations: {record.scheme}, cache of keys and values: {record.cache_bits} bits, {record.context} tokens.

| file | what |
|---|---|
| `{record.device_binary}` | all graphs with one copy of the weights, for the device |
| `{record.twin}` | the same graphs without sharing, which the emulator of a PC loads; verified there |
| `{CONFIG}`, `{EXTENSIONS}` | Genie's configuration, made from the network: do not edit by hand |
| `{TOKENIZER}`{f", `{TEMPLATE}`" if chat else ""} | tokenizer{" and chat template" if chat else ""} |

## On a phone

Genie's program and libraries come with Qualcomm's AI Runtime SDK (QAIRT):

    adb shell mkdir -p {device}
    adb push {record.device_binary} {CONFIG} {EXTENSIONS} {TOKENIZER} {device}/
    adb push $QAIRT_SDK_ROOT/bin/aarch64-android/genie-t2t-run {device}/
    adb push $QAIRT_SDK_ROOT/lib/aarch64-android/*.so {device}/
    adb push $QAIRT_SDK_ROOT/lib/hexagon-v{record.soc.arch}/unsigned/*.so {device}/
    adb shell "cd {device} && LD_LIBRARY_PATH=. ADSP_LIBRARY_PATH=. ./genie-t2t-run -c {CONFIG} -p 'Hello'"

{"The prompt must follow the chat template: `hexaquant llm chat` on this PC applies it." if chat else ""}

## On this PC

    hexaquant llm chat .
    hexaquant llm verify .
"""
