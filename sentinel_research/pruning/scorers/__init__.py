"""Head scorers: `(ScoringInputs) -> one float64 importance per head and layer`, higher stays."""
