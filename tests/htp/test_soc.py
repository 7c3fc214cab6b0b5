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


@pytest.mark.parametrize(
    ("words", "soc"),
    [
        ("Snapdragon 8 Gen 3", "sm8650"),
        ("snapdragon-8-gen-3", "sm8650"),
        ("Snapdragon 8+ Gen 1", "sm8475"),
        ("Snapdragon 8 Gen 1", "sm8450"),
        ("Snapdragon 8 Elite QRD", "sm8750"),
        ("Snapdragon 8 Elite Gen 5", "sm8850"),
        ("Samsung Galaxy S24 (Family)", "sm8650"),
        ("Samsung Galaxy S23 Ultra", "sm8550"),
        ("rb3gen2", "qcs6490"),
        ("RB3 Gen 2 Vision Kit", "qcs6490"),
        ("QCS8550 (Proxy)", "qcs8550"),
        ("SA8295P ADP", "sa8295p"),
        ("Snapdragon X Elite CRD", "sc8380xp"),
    ],
)
def test_products_and_devices_as_users_type_them(words: str, soc: str) -> None:
    assert find_target(words).name == soc


def test_no_device_is_guessed() -> None:
    with pytest.raises(InputError, match="unknown target 'Pixel 9'"):
        find_target("Pixel 9")
