"""Operators over sequences: each has a naive twin that defines it, and kernels that equal it."""
