"""A claim file: what was said, by what it is judged, when it holds, and what came out.

All but `judged` is written by a person before anything is measured; `judged` is written by the
command only, and holds for the records whose hashes it names.
"""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.claims.statistic import Statistic
from sentinel_research.specs.base import Spec

Verdict = Literal["supported", "refuted", "inconclusive", "not measured"]
SUPPORTED: Verdict = "supported"
REFUTED: Verdict = "refuted"
INCONCLUSIVE: Verdict = "inconclusive"
NOT_MEASURED: Verdict = "not measured"


class Region(Spec):
    """Where a quantity lies if what is said of it is true; its ends include the margin."""

    at_least: float | None = None
    """Lower end; null for none."""
    at_most: float | None = None
    """Upper end; null for none."""
    farther_than: float | None = Field(default=None, ge=0)
    """Least distance from 0, to either side; alone."""

    @model_validator(mode="after")
    def _is_a_region(self) -> Self:
        ends = (self.at_least, self.at_most)
        if self.farther_than is not None and ends != (None, None):
            raise ValueError("`farther_than` goes alone: leave `at_least` and `at_most` out")
        if self.farther_than is None and ends == (None, None):
            raise ValueError("give `at_least`, `at_most` or `farther_than`")
        if None not in ends and self.at_least > self.at_most:  # type: ignore[operator]
            raise ValueError(f"`at_least` = {self.at_least} is above `at_most` = {self.at_most}")
        return self

    def place(self, low: float, high: float) -> Verdict:
        """Whether a whole interval lies in the region, or outside of it, or neither."""
        if self.farther_than is not None:
            if low > self.farther_than or high < -self.farther_than:
                return SUPPORTED
            is_within = -self.farther_than <= low and high <= self.farther_than
            return REFUTED if is_within else INCONCLUSIVE
        lower = float("-inf") if self.at_least is None else self.at_least
        upper = float("inf") if self.at_most is None else self.at_most
        if lower <= low and high <= upper:
            return SUPPORTED
        return REFUTED if high < lower or low > upper else INCONCLUSIVE

    def __str__(self) -> str:
        if self.farther_than is not None:
            return f"farther than {self.farther_than:g} from 0"
        if self.at_least is None:
            return f"at most {self.at_most:g}"
        if self.at_most is None:
            return f"at least {self.at_least:g}"
        return f"{self.at_least:g} to {self.at_most:g}"


class Part(Spec):
    """One thing that the claim says; all must hold."""

    says: str
    """In words."""
    statistic: Statistic
    """The quantity that decides it."""
    holds_if: Region
    """Where the quantity lies if it is true."""


class JudgedPart(Spec):
    """What a part's quantity was."""

    value: float | None = Field(allow_inf_nan=False)
    """The estimate; null with a reason."""
    low: float | None = Field(allow_inf_nan=False)
    """Lower end of its interval."""
    high: float | None = Field(allow_inf_nan=False)
    """Upper end of its interval."""
    confidence: float | None
    """Coverage of the interval: together with those of the other parts at least 95 percent, as far
    as the number of repetitions allows; 1 for a number that is exact."""
    verdict: Verdict
    """Of this part."""
    reason: str = ""
    """Why there is no estimate; empty if there is one."""


class Judgement(Spec):
    """What came out."""

    verdict: Verdict
    """Supported if all parts are; refuted if one is; not measured if one could not be; else
    inconclusive."""
    parts: tuple[JudgedPart, ...]
    """In the order of the claim's."""
    evidence: dict[str, str]
    """SHA-256 of every file that it was read from, by its path in the folder of baselines."""


class Claim(Spec):
    """One claim."""

    claim: str
    """The sentence."""
    source: str
    """Document and section."""
    scale: str
    """What it was measured on here, which is what the verdict is about."""
    parts: tuple[Part, ...] = ()
    """What has to hold; none where it cannot be measured yet."""
    needs: str | None = None
    """What it would take to measure it, where it is not."""
    note: str | None = None
    """What a reader should know beside the verdict."""
    judged: Judgement | None = None
    """What came out; null until it was judged."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if bool(self.parts) == (self.needs is not None):
            raise ValueError("give `parts`, or else `needs`: what it would take to measure it")
        return self
