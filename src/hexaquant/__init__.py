"""hexaquant: neural networks onto Qualcomm's Hexagon NPU without losing accuracy."""

__version__ = "0.1.0"
