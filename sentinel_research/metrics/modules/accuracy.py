"""Accuracy: see `sentinel_research.metrics.classification`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics.classification import accuracy, accuracy_stderr, confusion_table


class Accuracy(evaluate.Metric):
    """Part of the items whose class was given."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Part of the items whose class was given.",
            citation="",
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
        found: dict[str, Any] = {"accuracy": float(accuracy(table))}
        if stderr:
            found["accuracy_stderr"] = accuracy_stderr(table)
        return found
