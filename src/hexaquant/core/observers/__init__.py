"""Observers: from streamed tensors to encodings. Activations stream through an Observer; weights are known."""

from hexaquant.core.observers.factory import OBSERVERS, make_observer, parse_observer
from hexaquant.core.observers.observer import Observer
from hexaquant.core.observers.weight_mse import mse_weight_encoding

__all__ = ["OBSERVERS", "Observer", "make_observer", "mse_weight_encoding", "parse_observer"]
