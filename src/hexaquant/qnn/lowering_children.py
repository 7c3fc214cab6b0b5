"""The two processes of a lowering, started before there is anything to lower.

They import onnxruntime and the readers of DLCs on another core, while the parent imports PyTorch and reads the network.
This module imports neither.
"""

from __future__ import annotations

from contextlib import ExitStack

from hexaquant.qnn.process import Child


class LoweringChildren:
    """``lower`` and ``inspect``, each good for one job; use it as a context manager."""

    def __enter__(self) -> LoweringChildren:
        with ExitStack() as stack:
            self.lower = stack.enter_context(Child("lower"))
            self.inspect = stack.enter_context(Child("inspect_dlc"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
