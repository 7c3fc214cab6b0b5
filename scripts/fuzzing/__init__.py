"""Fuzzing of every parser that reads a file from outside: what is fed, how it is varied, what may happen."""
