"""Matthews correlation: see `sentinel_research.metrics.classification`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics.classification import (
    confusion_table,
    matthews_correlation,
)
from sentinel_research.metrics.resampling import table_stderr


class MatthewsCorrelation(evaluate.Metric):
    """Matthews correlation of right and predicted classes."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Matthews correlation of right and predicted classes.",
            citation="Gorodkin (2004). https://doi.org/10.1016/j.compbiolchem.2004.09.006",
            inputs_description="predictions and references: classes from 0 on.",
            features=datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(
        self, predictions: list[int], references: list[int], stderr: bool = False
    ) -> dict[str, Any]:
        num_classes = max(2, 1 + max([*predictions, *references]))
        table = confusion_table(references, predictions, num_classes)
        found: dict[str, Any] = {"matthews_correlation": float(matthews_correlation(table))}
        if stderr:
            found["matthews_correlation_stderr"] = table_stderr(table, matthews_correlation)
        return found
