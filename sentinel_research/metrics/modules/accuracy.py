"""Accuracy: see `sentinel_research.metrics.classification`."""

from sentinel_research.metrics.bases import Functions, TableMetric
from sentinel_research.metrics.classification import accuracy, accuracy_stderr


class Accuracy(TableMetric):
    """Part of the items whose class was given."""

    KEY = "accuracy"

    def functions(self) -> Functions:
        """Accuracy and its standard error."""
        return accuracy, accuracy_stderr
