"""Matthews correlation: see `sentinel_research.metrics.classification`."""

from functools import partial

from sentinel_research.metrics.bases import Functions, TableMetric
from sentinel_research.metrics.classification import matthews_correlation
from sentinel_research.metrics.resampling import table_stderr


class MatthewsCorrelation(TableMetric):
    """Matthews correlation of right and predicted classes."""

    KEY = "matthews_correlation"
    CITATION = "Gorodkin (2004). https://doi.org/10.1016/j.compbiolchem.2004.09.006"

    def functions(self) -> Functions:
        """The correlation and its standard error."""
        return matthews_correlation, partial(table_stderr, statistic=matthews_correlation)
