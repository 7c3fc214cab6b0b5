"""Lint: what will hurt a network on the target, found before any calibration. One rule a file, in ``rules``."""
