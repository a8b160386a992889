"""What models write, in a report: how varied it is, how fast it comes, and what it reads like."""

from sentinel_research.reporting.generation.section import compare_generations

__all__ = ["compare_generations"]
