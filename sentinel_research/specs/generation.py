"""Text that a model writes, to measure its quality and the speed of writing."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec


class GenerationSpec(Spec):
    """Continuations of held-out prompts, and the time that one of them takes.

    Prompts and noise are the same for all models that share a tokenizer."""

    corpus: str
    """Corpus name (`sentinel ls corpora`)."""
    split: Literal["validation", "test"] = "test"
    """Its split; nothing is ever measured on what was trained on."""
    num_prompts: int = Field(default=64, gt=1)
    """Places in the split, spread evenly over it; two or more, since errors are over prompts."""
    prompt_tokens: int = Field(default=32, gt=0)
    """Tokens of text before each continuation, behind the token that begins a document."""
    max_new_tokens: int = Field(default=64, gt=1)
    """Longest continuation; the first token is what latency is about, the others are speed."""
    num_samples: int = Field(default=1, gt=0)
    """Continuations of every prompt; several only where they are drawn."""
    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int | None = Field(default=None, gt=0)
    """Tokens that can be chosen, the likeliest ones; null is all."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the likeliest tokens that together reach this probability; null is all."""
    seed: int = Field(default=0, ge=0)
    """Of the noise."""
    num_timings: int = Field(default=11, ge=0)
    """Times that a continuation is timed, after one that warms up; 0 times nothing."""

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        if self.num_timings == 1:
            raise ValueError("`num_timings` = 1 has no spread: time it twice or more, or 0 times")
        if self.temperature > 0:
            return self
        if self.num_samples > 1:
            raise ValueError(
                f"`num_samples` = {self.num_samples} with `temperature` = 0 writes the same text "
                f"{self.num_samples} times: raise the temperature, or ask for one sample"
            )
        for name in ("top_k", "top_p"):
            if getattr(self, name) is not None:
                raise ValueError(f"`{name}` limits what is drawn, and `temperature` = 0 draws not")
        return self
