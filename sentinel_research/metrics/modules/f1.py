"""F1, binary or macro: see `sentinel_research.metrics.classification`."""

from functools import partial
from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.metrics.bases import Functions, TableMetric
from sentinel_research.metrics.classification import binary_f1, confusion_table, macro_f1
from sentinel_research.metrics.resampling import table_stderr


class F1(TableMetric):
    """F1 of class 1 of two, or the mean of the F1 of several classes."""

    KEY = "f1"
    CITATION = "van Rijsbergen, Information Retrieval (1979), chapter 7"

    def functions(self, average: str = "binary") -> Functions:
        """F1 of a kind and its standard error."""
        statistic = binary_f1 if average == "binary" else macro_f1
        return statistic, partial(table_stderr, statistic=statistic)

    def _compute(
        self,
        predictions: list[int],
        references: list[int],
        stderr: bool = False,
        average: str = "binary",
        num_classes: int = 2,
    ) -> dict[str, Any]:
        if average not in ("binary", "macro") or (average == "binary" and num_classes != 2):
            raise UsageError(
                f"average='{average}' of {num_classes} classes is not known",
                "Give average='binary' for two classes, or average='macro', num_classes=K.",
            )
        table = confusion_table(references, predictions, num_classes)
        return self._named(self.functions(average), [table], stderr)
