"""Spearman's correlation: see `sentinel_research.metrics.correlation`."""

from sentinel_research.metrics.bases import Functions, NumberMetric
from sentinel_research.metrics.correlation import spearman, spearman_stderr


class Spearman(NumberMetric):
    """Spearman's correlation of predicted and right numbers."""

    KEY = "spearmanr"

    def functions(self) -> Functions:
        """The correlation and its standard error."""
        return spearman, spearman_stderr
