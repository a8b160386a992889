"""Quality by position, beyond the length that a model was trained on."""

import itertools
from typing import Literal

from pydantic import Field, field_validator

from sentinel_research.specs.base import Spec


class LongContextSpec(Spec):
    """Long sequences of one corpus, scored position by position and timed by length.

    Documents follow one another with a separator, as in training; the state of the past is carried
    from window to window."""

    corpus: str
    """Corpus name (`sentinel ls corpora`)."""
    split: Literal["validation", "test"] = "test"
    """Its split; nothing is ever measured on what was trained on."""
    lengths: list[int] = Field(min_length=1)
    """Numbers of predicted tokens, ascending: edges of the buckets of positions, and lengths whose
    speed and cache are measured."""
    num_sequences: int = Field(default=4, gt=0)
    """Sequences of the longest length, spread evenly over the split."""
    window: int = Field(default=512, gt=0)
    """Tokens per forward pass; it changes speed and memory, and no score."""

    @field_validator("lengths")
    @classmethod
    def _ascend(cls, lengths: list[int]) -> list[int]:
        if lengths and (lengths[0] < 1 or any(a >= b for a, b in itertools.pairwise(lengths))):
            raise ValueError(f"{lengths} are not positive numbers in ascending order, each once")
        return lengths
