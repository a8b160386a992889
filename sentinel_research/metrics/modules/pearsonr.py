"""Pearson's correlation: see `sentinel_research.metrics.correlation`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics.correlation import pearson, pearson_stderr


class Pearson(evaluate.Metric):
    """Pearson's correlation of predicted and right numbers."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Pearson's correlation of predicted and right numbers.",
            citation="",
            inputs_description="predictions and references: numbers.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(
        self, predictions: list[float], references: list[float], stderr: bool = False
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"pearsonr": pearson(references, predictions)}
        if stderr:
            found["pearsonr_stderr"] = pearson_stderr(references, predictions)
        return found
