"""What recovery regained: of which reference, at which cost, and whether the methods differ."""

from sentinel_research.reporting.recovery.section import compare_recoveries

__all__ = ["compare_recoveries"]
