"""What is measured of the cost of a model."""

from pydantic import Field, field_validator

from sentinel_research.specs.base import Spec


class CostSpec(Spec):
    """Lengths, batches and repetitions; type and device are the model's own."""

    batch_sizes: tuple[int, ...] = Field(default=(1,), min_length=1)
    """Sequences at once; every phase is timed at each of them."""
    prompt_tokens: int = Field(default=128, gt=1)
    """Tokens read before the first new one; random ones, since times do not depend on them."""
    new_tokens: int = Field(default=8, gt=0)
    """Tokens decoded behind the prompt, one at a time."""
    num_repetitions: int = Field(default=11, gt=1)
    """Rounds in which everything is timed once, after one that warms up."""
    fresh_process: bool = True
    """Measure peak memory and loading in a new process, which takes a copy of the model on disk."""
    modules: bool = True
    """Profile where the time goes, module by module."""
    seed: int = Field(default=0, ge=0)
    """Of the random prompt."""

    @field_validator("batch_sizes")
    @classmethod
    def _each_once(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if min(given) < 1 or len(set(given)) != len(given):
            raise ValueError(f"batch sizes must be positive, each once, got {list(given)}")
        return given
