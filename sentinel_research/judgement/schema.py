"""A comparison as data: what `sentinel compare --format json` prints."""

from typing import Literal

from pydantic import ConfigDict, Field

from sentinel_research.reporting.differences import Verdict
from sentinel_research.specs import JudgementSpec
from sentinel_research.specs.base import Frozen

Refusal = Literal[
    "one side",
    "few-shot",
    "limit",
    "window",
    "task",
    "aggregation",
    "direction",
    "no samples",
    "damaged samples",
    "units",
    "too few",
    "undefined",
    "identical",
]
"""Why there is no verdict."""
Test = Literal["exact McNemar", "permutation"]
Unit = Literal["documents", "clusters of documents", "blocks of windows"]


class _Part(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class Evidence(_Part):
    """What the samples of both models say about a difference."""

    first_value: float
    """The reference's metric."""
    second_value: float
    """The other's."""
    difference: float
    """The other's less the reference's, in the metric's unit."""
    low: float
    """Lower end of the 95% interval of the difference, of this comparison alone."""
    high: float
    """Upper end."""
    interval: Literal["BCa bootstrap", "percentile bootstrap", "no spread"]
    """How it was found; without spread it is the difference itself, which all units share."""
    p_value: float
    """Two-sided."""
    p_adjusted: float
    """After the correction for the family."""
    test: Test
    """What gave the p."""
    detectable: float | None
    """The smallest true difference that is found four times in five at the level of the strictest
    step of the correction; null without spread."""
    num_documents: int
    """Documents of both."""
    num_units: int
    """What was resampled and permuted."""
    unit: Unit
    """What that is."""


class Finding(_Part):
    """One model against the reference by one metric of one task."""

    first: str
    """The reference, FOLDER:CELL."""
    second: str
    """What is compared with it, FOLDER:CELL."""
    task: str
    """lm-eval's task."""
    metric: str
    """Its metric."""
    filter: str
    """lm-eval's filter."""
    higher_is_better: bool | None
    """Direction; null if the task does not say, or it was not measured."""
    verdict: Verdict
    """On the second."""
    refusal: Refusal | None = None
    """Why there is no verdict, in a word; null if there is one."""
    reason: str = ""
    """The same with both values; empty if there is a verdict."""
    evidence: Evidence | None = None
    """The numbers; null where there is no verdict."""


class Comparison(_Part):
    """All findings of one family."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    spec: JudgementSpec
    """What was asked for."""
    synthetic_data: bool = False
    """Whether a number was measured on the package's synthetic language."""
    num_tests: int
    """Size of the family that the correction is for: all comparisons that were asked for less
    those that were refused; identical results count, with a p of 1."""
    other_metrics: dict[str, list[str]] = Field(default_factory=dict)
    """Task -> metrics that were measured and not asked for."""
    findings: list[Finding]
    """Everything that was asked for, in the order of the models, tasks and metrics."""

    def verdicts(self) -> list[str]:
        """The verdict of every finding."""
        return [one.verdict for one in self.findings]

    @property
    def is_empty(self) -> bool:
        """Whether nothing could be compared; identical results were."""
        return not any(one.evidence or one.refusal == "identical" for one in self.findings)

    def reasons(self) -> list[str]:
        """Why there are findings without a verdict, each once."""
        found = [f"{one.task}/{one.metric}: {one.reason}" for one in self.findings if one.reason]
        return list(dict.fromkeys(found))
