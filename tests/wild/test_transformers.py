"""transformers' modules as they are, with ids and mask: from the module to the emulator, against PyTorch itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import hexaquant as hq
from gallery import hf

pytest.importorskip("transformers")

LEAST = {"w8a8": 28.0, "w8a16": 45.0}
"""dB of the first output; 3 below the least of the three that was measured."""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", LEAST)
@pytest.mark.parametrize("name", hf.END_TO_END)
def test_an_encoder_runs_on_the_target_as_it_is(tmp_path: Path, name: str, scheme: str) -> None:
    found = hf.deploy(name, tmp_path / "out", "sm8650", scheme)
    assert found["last_hidden_state"] > LEAST[scheme]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", LEAST)
@pytest.mark.parametrize("name", ["BERT", "DistilBERT"])
def test_padding_is_masked_that_calibration_never_saw(tmp_path: Path, name: str, scheme: str) -> None:
    found = hf.deploy(name, tmp_path / "out", "sm8650", scheme, masked=False)
    assert found["last_hidden_state"] > LEAST[scheme]


@pytest.mark.parametrize("name", ["RoBERTa", "T5 encoder", "Llama", "Phi-3"])
def test_shapes_of_a_free_batch_do_not_refuse_a_network(name: str) -> None:
    assert hf.check(name, "sm8650", "w8a8") == "ok"


def test_outputs_are_called_by_the_keys_of_the_module_s_output() -> None:
    module, examples = hf.made("BERT")
    assert [value.name for value in hq.load(module, (), examples).outputs] == ["last_hidden_state", "pooler_output"]
    assert module.config.use_cache is True or module.config.use_cache is False
