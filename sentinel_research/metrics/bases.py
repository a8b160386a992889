"""What modules of `evaluate` share: the inputs of a kind of metric, and an error if asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import datasets
import evaluate

from sentinel_research.metrics.classification import confusion_table
from sentinel_research.metrics.resampling import StandardError

Functions = tuple[Callable[..., Any], Callable[..., StandardError]]
"""A metric and its standard error, of the same arguments."""


class _Pairwise(evaluate.Metric, ABC):
    """A prediction and a reference an item; the docstring of a metric is its description."""

    KEY: ClassVar[str]
    """Of the result."""
    CITATION: ClassVar[str] = ""
    TYPE: ClassVar[str]
    """Of predictions and references, in the words of `datasets`."""
    INPUTS: ClassVar[str]

    @abstractmethod
    def functions(self) -> Functions:
        """What computes it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=self.CITATION,
            inputs_description=f"predictions and references: {self.INPUTS}.",
            features=datasets.Features(
                {name: datasets.Value(self.TYPE) for name in ("predictions", "references")}
            ),
        )

    def _named(self, functions: Functions, arguments: list[Any], stderr: bool) -> dict[str, Any]:
        value, error = functions
        found: dict[str, Any] = {self.KEY: float(value(*arguments))}
        return {**found, f"{self.KEY}_stderr": error(*arguments)} if stderr else found


class TableMetric(_Pairwise):
    """A metric of the table of right and predicted classes."""

    TYPE = "int32"
    INPUTS = "classes from 0 on"

    def _compute(
        self, predictions: list[int], references: list[int], stderr: bool = False
    ) -> dict[str, Any]:
        num_classes = max(2, 1 + max([*predictions, *references]))
        table = confusion_table(references, predictions, num_classes)
        return self._named(self.functions(), [table], stderr)


class NumberMetric(_Pairwise):
    """A metric of predicted and right numbers."""

    TYPE = "float64"
    INPUTS = "numbers"

    def _compute(
        self, predictions: list[float], references: list[float], stderr: bool = False
    ) -> dict[str, Any]:
        return self._named(self.functions(), [references, predictions], stderr)
