"""Sequence operators, each with a naive twin and the fast forms that must agree with it."""
