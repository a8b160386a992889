"""A question that a recipe's prunings answer together."""

from typing import Literal

from pydantic import Field

from sentinel_research.specs.base import Spec
from sentinel_research.specs.judgement import JudgementSpec

StudyKind = Literal["specialisation", "break_points", "importance", "transfer"]


class StudySpec(Spec):
    """What is asked of all cells of a run, once they are measured."""

    kind: StudyKind
    """`specialisation`: is the mask that was scored on a task the best for it? `break_points`: from
    which fraction on is each task lost? `importance`: do other texts, other draws of a text and
    other criteria order the units alike? `transfer`: is a plan that was made for another model as
    good as the model's own, and better than random masks?"""
    judgement: JudgementSpec = Field(default_factory=JudgementSpec)
    """How models are compared document by document; `tasks` and `metrics` stay empty, the study
    chooses them."""
