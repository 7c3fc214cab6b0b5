"""Random compositions of the kinds of strangers' networks; see scripts/probe_wild.py."""
