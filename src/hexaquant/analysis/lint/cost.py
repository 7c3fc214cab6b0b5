"""What one quantizer alone costs: SQNR of the network's outputs on a few samples with everything else in float."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.metrics import Sqnr
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import Overrides
from hexaquant.sim.planner import plan_unchecked


class QuantizerCost:
    """The network ``graph`` (prepared for the target), calibrated on ``batches``, and its float outputs on them.

    ``given``: encodings that take the place of the calibrated ones, where the plan has the same grid.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        scheme: Scheme,
        overrides: Overrides,
        batches: Sequence[Mapping[str, Any]],
        given: Mapping[str, Encoding] | None = None,
    ) -> None:
        planned = graph.clone()
        self.model = QuantizedModel(planned, plan_unchecked(planned, target, scheme, overrides))
        self._batches = [{name: torch.as_tensor(value) for name, value in batch.items()} for batch in batches]
        calibrate(self.model, self._batches)
        self.model.set_encodings(dict(given or {}), strict=False)
        with torch.no_grad(), self.model.float_mode():
            self._reference = [self._run(batch) for batch in self._batches]

    def quantizer_of(self, tensor: str) -> str | None:
        """The name of the quantizer that is in force on ``tensor``; None where it stays float."""
        plan = self.model.plan.tensors.get(tensor)
        if plan is None:
            return None
        name = plan.source if plan.how == "fused" else self.model.plan.root(tensor).name
        return name if name in self.model.quantizers else None

    def db(self, tensor: str) -> float | None:
        """SQNR of all outputs with the quantizer of ``tensor`` alone; None where it has none or changes nothing."""
        name, meter = self.quantizer_of(tensor), Sqnr()
        if name is None:
            return None
        with torch.no_grad(), self.model.only(glob.escape(name)):
            for batch, reference in zip(self._batches, self._reference):
                for got, wanted in zip(self._run(batch), reference):
                    meter.add(wanted.numpy(), got.numpy())
        return None if meter.noise == 0 or meter.signal == 0 else round(meter.db, 1)

    def _run(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        made = self.model(**batch)
        outputs = [made] if isinstance(made, Tensor) else list(made)
        return [output.detach().double() for output in outputs]
