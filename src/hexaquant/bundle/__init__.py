"""From the artifact folder to a device: the bundle with its C and Python runtimes, and runs over ssh or adb."""
