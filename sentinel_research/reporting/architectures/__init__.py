"""Compared architectures in a report: what each measured, how they differ, what they cost."""

from sentinel_research.reporting.architectures.section import compare_architectures

__all__ = ["compare_architectures"]
