"""Runs on a device that is reached over ssh or adb."""
