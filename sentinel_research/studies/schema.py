"""What a study found, as it is kept in the record."""

from typing import Literal

from pydantic import ConfigDict

from sentinel_research.judgement.schema import Finding
from sentinel_research.specs.base import Frozen


class _Part(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class MaskOnTask(_Part):
    """One mask on one task, judged against the dense model."""

    task: str
    """Where it was measured."""
    mask: str
    """Variant and scorer."""
    fraction: float
    """Share removed."""
    is_own: bool
    """Whether the mask was scored on this task."""
    dense: float | None
    """The dense model's value; null if it was not measured."""
    value: float | None
    """The mask's; null if it was not measured."""
    finding: Finding
    """The mask's model against the dense one."""


class OwnAgainstOther(_Part):
    """The mask that was scored on a task against one that was scored on another."""

    task: str
    """Where both were measured."""
    own: str
    """The mask that was scored on it."""
    other: str
    """The other mask, by the same scorer."""
    fraction: float
    """Share that either removed."""
    finding: Finding
    """The own mask's model against the other's: better is for the own."""


class Specialisation(_Part):
    """Is the mask that was scored on a task the best for it?"""

    kind: Literal["specialisation"] = "specialisation"
    """Of study."""
    against_dense: list[MaskOnTask]
    """All masks on all tasks, one family."""
    own_against_others: list[OwnAgainstOther]
    """The diagonal of that matrix against the rest of its row, one family."""


class MovedPlan(_Part):
    """A plan that was made for another model."""

    task: str
    """Where it was measured."""
    moved: str
    """Variant and scorer."""
    made_for: str
    """The model that it was made for."""
    fraction: float
    """Share removed."""
    native: str | None
    """The model's own plan by the same scorer; null if none was measured."""
    finding: Finding | None
    """The moved plan against the native one; null without a native one."""
    num_random: int
    """Random masks of the same fraction."""
    num_beaten: int
    """How many of them are worse."""
    random_p: float | None
    """Two-sided, of the exact randomisation test, after Holm over all moved plans of the study;
    null without random masks."""


class Transfer(_Part):
    """Is a plan that was made for another model as good as the model's own?"""

    kind: Literal["transfer"] = "transfer"
    """Of study."""
    plans: list[MovedPlan]
    """Every moved plan on every task."""


class AtFraction(_Part):
    """A pruned model against the dense one."""

    fraction: float
    """Share removed."""
    retained: float | None
    """What is left of the dense model's advantage over chance, 1 being all; null where chance is
    not known, or the dense model is at it."""
    finding: Finding
    """Judged in a family of all fractions."""


class HalfLoss(_Part):
    """The fraction at which half of the advantage over chance is lost."""

    value: float | None
    """By linear interpolation between measured fractions; null if the largest keeps more."""
    low: float | None
    """Lower end of the 95% interval of a bootstrap over documents; null as above."""
    high: float | None
    """Upper end; null as above."""


class BreakPoint(_Part):
    """How one task is lost as one criterion removes more."""

    task: str
    """What was measured."""
    criterion: str
    """Variant and scorer, with the seed of a random mask."""
    metric: str
    """By what."""
    chance: float | None
    """The metric of a guess: one in the number of choices, or all tokens of the vocabulary alike;
    null where neither is known."""
    dense: float
    """The metric of the dense model."""
    is_above_chance: bool | None
    """Whether the 95% interval of the dense model's advantage is above 0; null without chance."""
    breaks_at: float | None
    """The smallest fraction from which on every larger one is worse than dense; null if none is."""
    half_loss: HalfLoss | None
    """Null where chance is not known, or the dense model is not above it."""
    fractions: list[AtFraction]
    """Ascending."""
    reason: str = ""
    """Why a number is absent; empty if none is."""


class BreakPoints(_Part):
    """From which fraction on is each task lost?"""

    kind: Literal["break_points"] = "break_points"
    """Of study."""
    points: list[BreakPoint]
    """Per criterion the tasks that lose half first come first."""
