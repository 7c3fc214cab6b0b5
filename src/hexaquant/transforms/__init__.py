"""Function-preserving rewrites of a graph for the target, before it is planned and quantized."""
