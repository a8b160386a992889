"""What a downstream run is asked for: the flags of `sentinel downstream`."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.errors import UsageError
from sentinel_research.specs.base import Spec

FAMILIES = {
    "glue": ("sentinel_glue",),
    "superglue": ("sentinel_superglue",),
    "squad": ("sentinel_squad",),
    "mmlu": ("sentinel_mmlu",),
}
"""What the published names of task families stand for."""
TOGETHER = ("sentinel_mmlu",)
"""Groups whose tasks one model learns: each subject has five training documents."""
DEFAULT_SEED = 42
_OUTSIDE = re.compile(r"[^a-z0-9_.-]+")
_MODEL = "model"


class DownstreamRequest(Spec):
    """Everything that one downstream run is asked for."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """glue, superglue, squad, mmlu, or any task or group of lm-eval with a training split."""
    model_name: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Folders or hub ids of the models, each as it is or as NAME=FOLDER; every one is fine-tuned
    with every seed. With --run names of its architectures, all by default."""
    run: Path | None = None
    """Folder of a comparison of architectures; each seed starts from its own checkpoint."""
    seed: int | None = None
    """Order of the documents and dropout; 42 by default. With --run those of the comparison."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Several of them, for standard deviations and intervals."""
    epochs: int = Field(default=3, gt=0)
    """Passes over the training documents."""
    train_documents: int | None = Field(default=None, gt=1)
    """At most so many training documents of every task, spread evenly over its split."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of them that chooses weights and learning rate."""
    lr: tuple[float, ...] = Field(default=(1e-3,), min_length=1)
    """Peak learning rate; of several the best by the held-out loss is taken, model by model."""
    batch_size: int = Field(default=32, gt=0)
    """Documents per step."""
    seq_len: int = Field(default=256, gt=1)
    """Tokens of a prompt with its answer, in training and in measuring; longer prompts lose their
    beginning."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first evaluated documents of every task, for a quick look."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the training's computation."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer, or bytes; each model's own by default."""
    prefix_token_id: int | None = Field(default=None, ge=0)
    """Token before a text's first; BOS or EOS by default, which character models lack."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    save_checkpoints: bool = False
    """Keep every fine-tuned model as a checkpoint folder."""
    output_dir: Path = Path("downstream_results")
    """Folder of the JSON files; the run with its record and report is in runs/ in it."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model_name is None and self.run is None:
            raise ValueError("give `model_name`, or the folder of a comparison as `run`")
        if self.seed is not None and self.seeds is not None:
            raise ValueError("give one of `seed` and `seeds`")
        if self.run is not None and (self.seed is not None or self.seeds is not None):
            raise ValueError("`run` brings the seeds of its models: leave `seed` and `seeds` out")
        for name in ("tasks", "model_name", "seeds", "lr"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` names a value twice: {', '.join(map(str, values))}")
        if any(rate <= 0 for rate in self.lr):
            raise ValueError(f"`lr` must be above 0, got {', '.join(map(str, self.lr))}")
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds in their order, also where there is one."""
        return self.seeds or (DEFAULT_SEED if self.seed is None else self.seed,)


def named_models(given: tuple[str, ...]) -> dict[str, str]:
    """Models by name: the given one, or the last part of a folder or hub id.

    Args:
        given: `NAME=FOLDER`, or a folder or hub id.

    Raises:
        UsageError: if two models have one name.

    Example:
        >>> named_models(("openai-community/gpt2", "mine=runs/a/model"))
        {'gpt2': 'openai-community/gpt2', 'mine': 'runs/a/model'}
    """
    pairs = []
    for one in given:
        name, separator, checkpoint = one.partition("=")
        pairs.append((name, checkpoint) if separator else (_short_name(one), one))
    for name, number in Counter(name for name, _ in pairs).items():
        if number > 1:
            raise UsageError(
                f"--model_name: {number} models would be called '{name}'",
                "give them names: --model_name dense=FOLDER pruned=OTHER_FOLDER",
            )
    return dict(pairs)


def _short_name(checkpoint: str) -> str:
    """The last part of a path that says something: runs keep their models in folders `model`."""
    parts = [part for part in Path(checkpoint).parts if part not in ("/", "..", ".")]
    while len(parts) > 1 and parts[-1] == _MODEL:
        parts.pop()
    return _OUTSIDE.sub("-", (parts or [_MODEL])[-1].lower()).strip("-._") or _MODEL
