"""Several architectures, trained and measured by one protocol, as the cells of one run."""

from sentinel_research.comparison.plan import plan_comparison
from sentinel_research.comparison.run import match_all, run_comparison

__all__ = ["match_all", "plan_comparison", "run_comparison"]
