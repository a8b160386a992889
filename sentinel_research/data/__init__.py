"""Data: one loader for datasets, the named corpora, the synthetic language, packing."""
