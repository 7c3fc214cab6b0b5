"""The ``hexaquant`` command: one file for each sub-command. Nothing here imports torch, onnx or numpy at import."""
