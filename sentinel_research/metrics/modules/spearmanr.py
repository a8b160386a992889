"""Spearman's correlation: see `sentinel_research.metrics.correlation`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics.correlation import spearman, spearman_stderr


class Spearman(evaluate.Metric):
    """Spearman's correlation of predicted and right numbers."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Spearman's correlation of predicted and right numbers.",
            citation="",
            inputs_description="predictions and references: numbers.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(
        self, predictions: list[float], references: list[float], stderr: bool = False
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"spearmanr": spearman(references, predictions)}
        if stderr:
            found["spearmanr_stderr"] = spearman_stderr(references, predictions)
        return found
