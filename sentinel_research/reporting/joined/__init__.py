"""The report of a whole sweep: its models beside each other, from their records."""

from sentinel_research.reporting.joined.page import joined_page
from sentinel_research.reporting.joined.results import read_models

__all__ = ["joined_page", "read_models"]
