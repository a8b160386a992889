"""Two or more measured models that are compared document by document."""

from typing import Literal

from pydantic import Field

from sentinel_research.specs.base import Spec

Correction = Literal["holm", "bh"]


class JudgementSpec(Spec):
    """What is compared, declared before any result is looked at, and how it is tested."""

    tasks: tuple[str, ...] = ()
    """Tasks, or groups for all their tasks; empty takes every task that any of the models was
    measured on."""
    metrics: tuple[str, ...] = ()
    """Metrics, wherever a task has them; empty takes of every task the one that reports plot."""
    correction: Correction = "holm"
    """`holm` keeps the chance of any wrong verdict below the level, `bh` (Benjamini, Hochberg) the
    expected share of wrong ones among all verdicts."""
    level: float = Field(default=0.05, gt=0, lt=0.5)
    """An adjusted p below it is a verdict."""
    seed: int = Field(default=0, ge=0)
    """Of resamples and permutations: the same seed gives the same numbers."""
    num_resamples: int = Field(default=9999, ge=99, le=1_000_000)
    """Bootstrap resamples, and random permutations; no p of these is below 2 / (1 + this)."""
