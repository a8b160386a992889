"""Texts that tasks ask a model to write."""
