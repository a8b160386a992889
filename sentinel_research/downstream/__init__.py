"""Downstream: finished models, fine-tuned on the training documents of the tasks that measure them.

Every model learns the same documents, in the same prompts, with the same budget; the documents that
are evaluated choose nothing.
"""

from sentinel_research.downstream.plan import load_lessons, plan_downstream
from sentinel_research.downstream.preview import preview_downstream
from sentinel_research.downstream.run import run_downstream

__all__ = ["load_lessons", "plan_downstream", "preview_downstream", "run_downstream"]
