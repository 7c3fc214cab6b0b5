"""Targets are found by SoC or architecture; unknown ones name what is close."""

from __future__ import annotations

import pytest

from hexaquant.core.errors import InputError
from hexaquant.htp.soc import ARCHITECTURES, TARGETS, find_target, target_of_model


@pytest.mark.parametrize("name", ["sm8650", "SM8650", "sm8650p", " Sm8650P ", "v75", "V75", "htp_v75"])
def test_spellings_of_one_target(name: str) -> None:
    target = find_target(name)
    assert (target.name, target.model, target.arch) == ("sm8650", 57, 75)


def test_a_target_is_its_own_name() -> None:
    assert all(find_target(target) is target and find_target(target.name) is target for target in TARGETS)


def test_names_that_end_in_p_are_found_without_it() -> None:
    assert find_target("sa8295") is find_target("SA8295P")


def test_every_architecture_stands_for_a_soc_of_it() -> None:
    assert all(find_target(f"v{arch}").arch == arch for arch in ARCHITECTURES)


def test_soc_ids_are_unique_and_lead_back() -> None:
    assert len({target.model for target in TARGETS}) == len(TARGETS)
    assert all(target_of_model(target.model) is target for target in TARGETS)
    assert target_of_model(1) is None


def test_unknown_soc_names_a_close_match() -> None:
    with pytest.raises(InputError, match=r"unknown target 'sm865' \(did you mean 'sm8650'\?\): known are sm8350, "):
        find_target("sm865")


@pytest.mark.parametrize("name", ["v66", "v100"])
def test_unknown_architecture_lists_the_known(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}': known are v68, .*v81"):
        find_target(name)
