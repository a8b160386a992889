"""What a pruning benchmark is asked for: the flags of `sentinel benchmark`."""

from typing import Any

from pydantic import Field

from sentinel_research.finetune.request import FinetuneRequest


class PruningBenchmarkRequest(FinetuneRequest):
    """A fine-tuning whose models also write, before and after."""

    max_prompts: int = Field(default=16, gt=1)
    """Held-out prompts that every model continues; two or more, since errors are over prompts."""
    num_tokens: int | None = Field(default=None, gt=1)
    """Tokens of a continuation; half of --max_length by default, behind a quarter of it."""
    temperature: float = Field(default=1.0, ge=0)
    """Of the continuations; 0 takes the likeliest token. Speed is that of likeliest tokens."""

    def generation(self, corpus: str) -> dict[str, Any] | None:
        """What the models write, as a recipe says it.

        Args:
            corpus: What is measured on.
        """
        return {
            "corpus": corpus,
            "num_prompts": self.max_prompts,
            "prompt_tokens": max(1, self.max_length // 4),
            "max_new_tokens": self.num_tokens or max(2, self.max_length // 2),
            "temperature": self.temperature,
            "seed": self.all_seeds[0],
        }
