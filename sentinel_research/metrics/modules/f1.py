"""F1, binary or macro: see `sentinel_research.metrics.classification`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.errors import UsageError
from sentinel_research.metrics.classification import (
    binary_f1,
    confusion_table,
    macro_f1,
)
from sentinel_research.metrics.resampling import table_stderr


class F1(evaluate.Metric):
    """F1 of class 1 of two, or the mean of the F1 of several classes."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="F1 of class 1 of two, or the mean of the F1 of several classes.",
            citation="van Rijsbergen, Information Retrieval (1979), chapter 7",
            inputs_description="predictions and references: classes from 0 on.",
            features=datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(
        self,
        predictions: list[int],
        references: list[int],
        average: str = "binary",
        num_classes: int = 2,
        stderr: bool = False,
    ) -> dict[str, Any]:
        if average not in ("binary", "macro") or (average == "binary" and num_classes != 2):
            raise UsageError(
                f"average='{average}' of {num_classes} classes is not known",
                "Give average='binary' for two classes, or average='macro', num_classes=K.",
            )
        statistic = binary_f1 if average == "binary" else macro_f1
        table = confusion_table(references, predictions, num_classes)
        found: dict[str, Any] = {"f1": float(statistic(table))}
        if stderr:
            found["f1_stderr"] = table_stderr(table, statistic)
        return found
