"""Quantisation: weights that are held in a few bits, or in float on the grid of a few bits.

`store_small` makes a model smaller. `quantise_in_place` and its kin are fake quantisation: they say
what it costs, let training and scoring see it, and are what stored models are tested against.
"""

from sentinel_research.quantisation.grid import Grid, fake_quantise, grid_of
from sentinel_research.quantisation.rounding import RoundedForward
from sentinel_research.quantisation.stored import StoreReport, activations_of, store_small
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
    "StoreReport",
    "activations_of",
    "fake_quantise",
    "grid_of",
    "quantise_in_place",
    "quantised_copy",
    "quantised_names",
    "store_small",
]
