"""Pearson's correlation: see `sentinel_research.metrics.correlation`."""

from sentinel_research.metrics.bases import Functions, NumberMetric
from sentinel_research.metrics.correlation import pearson, pearson_stderr


class Pearson(NumberMetric):
    """Pearson's correlation of predicted and right numbers."""

    KEY = "pearsonr"

    def functions(self) -> Functions:
        """The correlation and its standard error."""
        return pearson, pearson_stderr
