"""What is given for what: quality against operations and time, level by level, task by task.

Everything is computed from the record. A figure whose numbers it does not hold is not drawn, and
the report says what to run for them.
"""

from sentinel_research.reporting.tradeoffs.section import weigh

__all__ = ["weigh"]
