"""What the prunings of a run answer together, if its recipe asks a question of all of them."""

from sentinel_research.reporting.studies.section import present_study

__all__ = ["present_study"]
