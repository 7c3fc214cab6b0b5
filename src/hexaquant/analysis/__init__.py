"""Measuring: FP32 against simulation against target."""
