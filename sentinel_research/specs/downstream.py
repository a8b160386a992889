"""Fine-tuning of finished models on the tasks that measure them."""

import re

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.train import FitSpec

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class DownstreamSpec(Spec):
    """One fine-tuning of every model for every task, on the task's own training documents.

    Prompts and answers are those of the evaluation, and only the answer's tokens count in the loss.
    The weights and the learning rate are those of the lowest loss on a held-out part of the
    training documents; the evaluated documents choose nothing. States of agency gates stay as they
    are."""

    models: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Checkpoint folders or hub ids by a name of your own. Several of one name are its repetitions,
    one for each of `seeds`; a single one is fine-tuned with every seed."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Order of the documents and dropout."""
    train: FitSpec = Field(default_factory=FitSpec)
    """Batch, optimiser and precision, the same for every model and task."""
    learning_rates: list[float] = Field(default_factory=list)
    """Grid of peak learning rates, tried with every model, task and seed. Empty:
    `train.learning_rate`."""
    epochs: int = Field(default=3, gt=0)
    """Passes over the training documents; the held-out loss is measured after each."""
    num_documents: int | None = Field(default=None, gt=1)
    """At most so many training documents of every task, spread evenly over the split; null takes
    all. The held-out ones are among them."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training documents that chooses weights and learning rate."""
    together: list[str] = Field(default_factory=list)
    """Those of `evaluate.tasks` that are groups whose tasks one model is fine-tuned for, all at
    once; every other task gets a model of its own."""
    save_models: bool = False
    """Keep every fine-tuned model as a checkpoint folder of the run."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for name, checkpoints in self.models.items():
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' cannot be a name: take small letters, digits and _.-, beginning "
                    "with a letter or digit"
                )
            if len(checkpoints) not in (1, len(self.seeds)):
                raise ValueError(
                    f"'{name}' has {len(checkpoints)} checkpoints, and `seeds` are "
                    f"{len(self.seeds)}: give one checkpoint, or one for each seed"
                )
        for key in ("seeds", "learning_rates", "together"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"`{key}` names a value twice: {values}")
        if any(rate <= 0 for rate in self.learning_rates):
            raise ValueError(f"`learning_rates` must be above 0, got {self.learning_rates}")
        return self

    @property
    def rates(self) -> list[float]:
        """The learning rates to try, also where there is one."""
        return self.learning_rates or [self.train.learning_rate]

    def checkpoint(self, name: str, seed: int) -> str:
        """The checkpoint that a model starts from at one of the seeds."""
        checkpoints = self.models[name]
        return checkpoints[0] if len(checkpoints) == 1 else checkpoints[self.seeds.index(seed)]
