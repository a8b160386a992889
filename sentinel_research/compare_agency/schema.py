"""The file of a comparison: what was measured on every arm, and what was tested. Strict JSON.

What was not measured is absent, with its reason under `not_measured`; no number is a default.
"""

from typing import Any

from sentinel_research.reporting.differences import Verdict
from sentinel_research.specs.base import Frozen

RESULT_VERSION = 1

DEFINITIONS = {
    "dense": "the plain model with all of its heads",
    "masked": "the plain model, the outputs of pruned heads multiplied by zero",
    "removed": "the plain model without the weights of the same heads",
    "random": "the plain model, as many random heads multiplied by zero",
    "agency": "the model with agency, whose pruned heads have withdrawn their consent; the policy "
    "then moves the states of the others",
    "perplexity": "exp of nats per token on held-out documents, whatever the temperature",
    "first_token_ms": "milliseconds of wall time from the call to the first token, one text, "
    "likeliest tokens; median of the rounds of an iteration",
    "tokens_per_second": "tokens after the first one per second of wall time, the same texts",
    "weights_mb": "MiB that the parameters and buffers take",
    "writing_mb": "MiB that memory rises while one text is written, the cache included",
    "intervals": "95% Student's t interval of the mean over iterations",
    "ratio": "first arm over second, paired by iteration, with Fieller's 95% interval",
}
"""What every word means, written into every file."""


class _Part(Frozen, allow_inf_nan=False):
    """Strict JSON: no NaN, no infinity."""


class Point(_Part):
    """One metric of one arm."""

    arm: str
    level: float
    """Percent of the heads that went."""
    metric: str
    temperature: float | None
    """Null for what does not depend on it."""
    values: tuple[float, ...]
    """One an iteration."""
    mean: float
    low: float | None
    """Null for one iteration."""
    high: float | None


class Contrast(_Part):
    """Agency beside another arm."""

    first: str
    second: str
    level: float
    metric: str
    temperature: float | None
    first_mean: float
    second_mean: float
    ratio: float | None
    """Null where the second is 0."""
    ratio_low: float | None
    ratio_high: float | None
    p_value: float | None
    """Null where nothing could be tested."""
    p_adjusted: float | None
    """After Holm's correction over all contrasts of the file."""
    verdict: Verdict
    """On the first arm."""
    reason: str
    """Why nothing could be tested; empty otherwise."""
    test: str
    """Student's t over iterations, or documents of the first iteration."""


class NamedCheck(_Part):
    """Something that must hold about the arms, and whether it did."""

    name: str
    passed: bool
    detail: str


class AgencyResults(_Part):
    """One comparison."""

    schema_version: int
    status: str
    synthetic_data: bool
    config: dict[str, Any]
    """The flags as they were understood."""
    definitions: dict[str, str]
    points: tuple[Point, ...]
    contrasts: tuple[Contrast, ...]
    checks: tuple[NamedCheck, ...]
    not_measured: dict[str, str]
    """What failed -> why."""
    records: dict[str, str]
    """Kind, iteration and temperature -> run folder, relative to this file."""
    provenance: dict[str, Any]
    """Commit, versions and machine."""
