"""What a model writes while it is trained."""

from pydantic import Field

from sentinel_research.specs.base import Spec


class SampleSpec(Spec):
    """Continuations of fixed prompts with fixed noise, to read beside the losses."""

    prompts: tuple[str, ...] = Field(min_length=1)
    """Beginnings of a text; an empty one begins a document."""
    every: int = Field(gt=0)
    """Steps between them; also before the first step, and with the weights of the end."""
    max_new_tokens: int = Field(default=40, gt=0)
    """Tokens written after each prompt."""
    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int | None = Field(default=None, gt=0)
    """Tokens that can be chosen, the likeliest ones; null is all."""
    seed: int = Field(default=0, ge=0)
    """Of the noise, which is the same at every step."""
