"""A baseline file: what was measured of one model, of which one, on what, and how far it may move.

Strict versioned JSON. Only `accept` writes it, with the reason; `content_sha256` tells a file that
was edited by hand, since a number in it must have been measured.
"""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from sentinel_research.specs.base import Frozen
from sentinel_research.specs.baseline import Name, Tolerance

SCHEMA_VERSION: Literal[1] = 1
SEPARATOR = "@"
"""Between model and variant in the name of a file."""


class Identity(Frozen):
    """Which model was measured, told by what it came from."""

    source: dict[str, str]
    """Hashes by part: weights, configuration and tokenizer of a stored model; `request` and texts
    of one that the run trained, whose weights are among the results."""
    dtype: str | None
    """Type of the weights; null if the record does not say."""
    plan: str | None
    """Hash of the units that a pruning kept; null for a model that was not pruned."""
    changes: str | None
    """Hash of all that the cell asks for beside: form, compensation, recovery, arm."""


class MeasuredTask(Frozen):
    """What was asked, in one task."""

    documents: str
    """Hash of the documents, in order."""
    prompts: str
    """Hash of their prompts and targets, in order."""
    num_documents: int = Field(gt=0)
    """How many there are."""
    settings: dict[str, int | float | str | None]
    """`limit`, `num_fewshot`, `seed`, the `window` in tokens, and the task's `version`."""


class KeptMetric(Frozen):
    """One metric with the distance that it may move."""

    value: float = Field(allow_inf_nan=False)
    """The measured value."""
    stderr: float | None = Field(allow_inf_nan=False)
    """Its standard error; null where none could be computed."""
    higher_is_better: bool | None
    """Direction; null if the task does not say."""
    tolerance: Tolerance
    """How far it may move."""


class Baseline(Frozen):
    """One model of a suite in one variant."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this layout."""
    suite: Name
    """Folder of the file."""
    model: Name
    """What the model is called in the suite."""
    variant: Name
    """The cell's id in its run: `dense`, or what was done to the model."""
    why: str
    """Why these values were accepted."""
    accepted_at: str
    """UTC, ISO 8601."""
    device: str
    """Class of the device: `cpu`, or `cuda` with the name of the GPU."""
    versions: dict[str, str]
    """Packages that were installed; for people, when a number moved."""
    identity: Identity
    """Which model it was."""
    tasks: dict[str, MeasuredTask]
    """What was asked, by task; groups of tasks have metrics only."""
    metrics: dict[str, KeptMetric]
    """By `task/metric`, with `,filter` behind it where lm-eval names one."""
    content_sha256: str = ""
    """Hash of everything else, so that an edited file is noticed."""

    @property
    def name(self) -> str:
        """`model@variant`, the name of the file without its ending."""
        return f"{self.model}{SEPARATOR}{self.variant}"

    def hashed(self) -> str:
        """SHA-256 of everything but the hash itself."""
        content = self.model_dump(mode="json", exclude={"content_sha256"})
        return sha256_of(content)


def sha256_of(content: Any) -> str:
    """Sixty-four hex digits of JSON data, whatever the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
