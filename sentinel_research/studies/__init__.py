"""Questions that the prunings of one recipe answer together, judged by their samples."""

from sentinel_research.studies.run import run_study

__all__ = ["run_study"]
