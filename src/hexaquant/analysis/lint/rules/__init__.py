"""One rule a file: its docstring says why it matters on this target, when it speaks, and where that was measured."""
