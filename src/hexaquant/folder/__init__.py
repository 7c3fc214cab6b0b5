"""The artifact folder: its files, its manifest, what is current in it, and how it changes as a whole."""
