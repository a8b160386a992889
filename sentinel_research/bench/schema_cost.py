"""The section of `sentinel bench cost`."""

from sentinel_research.bench.schema_base import Section
from sentinel_research.timing import Row


class CostBound(Row):
    """How fast a comparison of the section `cost` can be by arithmetic."""

    comparison: str
    """Name of the comparison."""
    flops_ratio: float
    """Operations of the dense model by those of the measured one."""
    bytes_ratio: float
    """Bytes that have to be moved, likewise."""
    speed_up: float
    """By the slower of the two at the machine's rates, measured just then."""


class CostSection(Section):
    """Models with parts removed and in fewer bits beside the dense one.

    Comparisons are named `PHASE/COMBINATION`; all of a phase share their rounds.
    """

    prompt_tokens: int
    """Read in prefill; the last logit alone is computed."""
    new_tokens: int
    """Single tokens decoded behind them."""
    bounds: tuple[CostBound, ...]
    """One for each comparison."""
