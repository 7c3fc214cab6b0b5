"""What the Runtime takes: the same types as calibration."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.core.errors import InputError
from hexaquant.qnn.tensor_io import TensorSpec, prepare

QUANTIZED = TensorSpec("x", (1, 4), np.dtype(np.uint8), 0.5, -3)
FLOAT = TensorSpec("x", (1, 4), np.dtype(np.float16))
INTEGER = TensorSpec("ids", (1, 4), np.dtype(np.int32))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("spec", [QUANTIZED, FLOAT])
def test_integers_where_floats_are_wanted_are_refused_as_in_calibration(kind: type, spec: TensorSpec) -> None:
    """A picture of 0 to 255 where the network was calibrated with 0 to 1 would be clipped and answered."""
    with pytest.raises(InputError, match=r"input 'x' is .* but the model wants float32; convert \(and scale\)"):
        prepare(np.ones((1, 4), kind), spec, float_io=True)


def test_stored_integers_and_ids_are_taken() -> None:
    assert prepare(np.full((1, 4), 7, np.uint8), QUANTIZED, float_io=False).tolist() == [[7, 7, 7, 7]]
    assert prepare(np.full((1, 4), 7, np.int64), INTEGER, float_io=True).dtype == np.int32
    assert prepare(np.full((1, 4), 0.5), QUANTIZED, float_io=True).tolist() == [[4, 4, 4, 4]]
