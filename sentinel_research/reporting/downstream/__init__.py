"""What fine-tuned models answer: by task and by group, over seeds, beside the majority class."""

from sentinel_research.reporting.downstream.section import compare_downstream

__all__ = ["compare_downstream"]
