"""How the legality table is measured: one-operator networks, a prober, random networks, the page in docs."""
