"""Compared architectures in a report: what each measured, how they differ, what they cost."""

from sentinel_research.reporting.architectures.section import (
    compare_architectures,
    compare_on_tasks,
)

__all__ = ["compare_architectures", "compare_on_tasks"]
