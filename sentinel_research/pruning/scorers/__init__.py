"""Scorers: `(ScoringInputs) -> one float64 importance per unit and layer`, higher stays.

For the kind `weight` a scorer returns one matrix [outputs, inputs] per projection instead.
"""
