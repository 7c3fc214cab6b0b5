"""Schemes: what a target cannot execute is refused, what it executes badly is said."""

from __future__ import annotations

import pytest

from hexaquant.core.errors import InputError, TargetError
from hexaquant.htp.scheme import SCHEMES, check_scheme, find_scheme, scheme_warnings
from hexaquant.htp.soc import find_target


@pytest.mark.parametrize("target", ["sm8350", "v69"])
def test_16_bit_weights_are_refused_before_v73(target: str) -> None:
    with pytest.raises(TargetError, match=r"no kernels for 16-bit weights: use w8a16, or a target from v73"):
        check_scheme(find_scheme("w16a16"), find_target(target))


def test_float_is_refused_where_the_hardware_has_none() -> None:
    with pytest.raises(TargetError, match=r"no float16: quantize with w8a16 or w8a8, or name a target from v69"):
        check_scheme(find_scheme("fp16"), find_target("qcs6490"))
    check_scheme(find_scheme("fp16"), find_target("v69"))


@pytest.mark.parametrize("target", ["v73", "v75", "v79", "v81"])
def test_every_scheme_is_accepted_from_v73_on_without_warnings(target: str) -> None:
    for scheme in SCHEMES.values():
        check_scheme(scheme, find_target(target))
        assert scheme_warnings(scheme, find_target(target)) == []


def test_16_bit_activations_warn_before_v73() -> None:
    (warning,) = scheme_warnings(find_scheme("w8a16"), find_target("sm8350"))
    assert "20 steps of 16 bits" in warning
    assert scheme_warnings(find_scheme("w8a8"), find_target("sm8350")) == []


def test_only_16_bit_weights_need_symmetric_activations() -> None:
    assert [name for name, scheme in SCHEMES.items() if scheme.symmetric_activations] == ["w16a16"]


def test_names_are_found_in_any_case_and_unknown_ones_listed() -> None:
    assert find_scheme("W8A16") is SCHEMES["w8a16"]
    with pytest.raises(InputError, match=r"unknown scheme 'w3a3': known are w8a8, "):
        find_scheme("w3a3")


def test_what_others_call_a_scheme() -> None:
    assert find_scheme("int8").name == "w8a8"
    assert find_scheme("Float16").name == "fp16"
    with pytest.raises(InputError, match="w4a16 or w4a8"):
        find_scheme("int4")
