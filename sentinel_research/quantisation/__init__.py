"""Fake quantisation: weights on the grid that a few bits can store, held in float.

It says what quantising costs and lets training and scoring see it; nothing gets smaller or faster.
"""

from sentinel_research.quantisation.grid import Grid, fake_quantise, grid_of
from sentinel_research.quantisation.rounding import RoundedForward
from sentinel_research.quantisation.weights import (
    QuantiseReport,
    quantise_in_place,
    quantised_copy,
    quantised_names,
)

__all__ = [
    "Grid",
    "QuantiseReport",
    "RoundedForward",
    "fake_quantise",
    "grid_of",
    "quantise_in_place",
    "quantised_copy",
    "quantised_names",
]
