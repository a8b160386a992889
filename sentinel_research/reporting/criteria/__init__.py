"""The comparison of pruning criteria in one run: with leave-one-out, with chance, with themselves.

Everything is computed from the record. What that does not hold is absent, with a reason.
"""

from sentinel_research.reporting.criteria.section import Part, compare_criteria, compare_on_task

__all__ = ["Part", "compare_criteria", "compare_on_task"]
