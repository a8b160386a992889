"""What `sentinel explore` shows."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sentinel_research.specs.base import Spec


class ExploreSpec(Spec):
    """A model or a run, the text that it is looked at with, and how long that may take."""

    target: str
    """Run folder, FOLDER:CELL, folder of a model, name below SENTINEL_MODELS, or hub id."""
    corpus: str | None = None
    """Its train split is read for the scores, its test split measures; a run's own by default,
    else the synthetic language."""
    sequences: int | None = Field(default=None, gt=1)
    """Sequences that scores are read from; a run's own by default, else 32."""
    sequence_length: int | None = Field(default=None, gt=1)
    """Tokens of each; a run's own by default, else 128, or the model's context."""
    limit: int | None = Field(default=None, gt=0)
    """Documents that perplexity is measured on; a run's own by default, else 64."""
    estimates: Literal["leave_one_out", "gradients"] = "leave_one_out"
    """`leave_one_out` measures every head and block without it; `gradients` reads the text once."""
    patience: float = Field(default=10.0, gt=0)
    """Minutes that the measuring before the first page may take."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Weights' type; the checkpoint's by default."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""
    port: int = Field(default=0, ge=0, le=65535)
    """Of the page; 0 for any free one."""
    overrides: tuple[str, ...] = ()
    """Any other key of a recipe, as KEY=VALUE: `evaluate.prefix_token_id=0`."""
