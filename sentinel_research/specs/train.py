"""How to train a model."""

from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.samples import SampleSpec

Schedule = Literal["cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay"]
FLOORED = ("cosine", "warmup_stable_decay")
"""Schedules that may end above 0."""


class FitSpec(Spec):
    """How weights are fitted to text, whatever the text: batch, optimiser, precision."""

    batch_size: int = Field(default=32, gt=0)
    """Sequences per step, of all processes together."""
    accumulation_steps: int = Field(default=1, gt=0)
    """Parts that a step's batch is computed in, one after the other, to save memory."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Schedule = "cosine"
    """transformers' schedule of the learning rate after warm-up; `warmup_stable_decay` stays at the
    peak, and comes down in the last fifth of the steps."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps with linear warm-up, before the schedule."""
    min_learning_rate_fraction: float = Field(default=0.0, ge=0, le=1)
    """Where `cosine` and `warmup_stable_decay` end, as a share of the peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay; biases, norms and other vectors have none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment, in [0, 1)."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients of a larger norm are scaled down to it; 0 never does."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """`bf16` and `fp16` are autocast, weights stay in float32; `fp16` needs a GPU."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    compile: bool = False
    """Compile the training by torch.compile: faster steps, after minutes for the first one."""
    patience: int | None = Field(default=None, gt=0)
    """Stop after so many validations without a new lowest loss; null trains all steps."""
    max_loss_ratio: float = Field(default=2.0, gt=1)
    """Training has diverged where the loss is this many times that of the first step."""

    @field_validator("betas")
    @classmethod
    def _betas_in_range(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{list(betas)} are not both in [0, 1)")
        return betas

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"`accumulation_steps` = {self.accumulation_steps} does not divide `batch_size` = "
                f"{self.batch_size}"
            )
        if self.min_learning_rate_fraction and self.schedule not in FLOORED:
            raise ValueError(
                f"`min_learning_rate_fraction` is for {' and '.join(FLOORED)}, and "
                f"`schedule` is {self.schedule}"
            )
        return self


class TrainSpec(FitSpec):
    """Training from scratch on packed blocks of one corpus or several."""

    corpus: str | tuple[str, ...]
    """Corpus name (`sentinel ls corpora`) or a list of them: their train splits are used. A block
    never spans two corpora; the blocks of all are shuffled together."""
    shares: dict[str, float] | None = None
    """Share of the blocks by corpus, in (0, 1] and one in sum: as many blocks as are there without
    repeating any, spread evenly over each corpus. Null: every block of every corpus."""
    num_steps: int = Field(gt=0)
    """Optimiser steps."""
    sequence_length: int = Field(default=128, gt=1)
    """Tokens per training sequence."""
    validate_every: int | None = Field(default=None, gt=0)
    """Steps between losses on the validation splits, and at the end; null never validates."""
    validation_blocks: int | None = Field(default=None, gt=0)
    """Blocks of the validation splits that are read, spread evenly; null reads all."""
    keep: Literal["last", "best"] = "last"
    """Weights to end with: those of the last step, or of the lowest validation loss."""
    samples: SampleSpec | None = None
    """Texts that are written while training, for the record; null writes none."""
    seed: int = 0
    """Initialisation, data order and dropout."""

    @field_validator("corpus")
    @classmethod
    def _corpora_differ(cls, corpus: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (corpus,) if isinstance(corpus, str) else corpus
        if not names:
            raise ValueError("name at least one corpus")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names '{name}' twice")
        return corpus

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.keep == "best" and self.validate_every is None:
            raise ValueError("`keep: best` needs `validate_every`, a number of steps")
        if self.patience is not None and self.keep != "best":
            raise ValueError(
                "`patience` needs `keep: best` and `validate_every`: it waits for a lower loss"
            )
        if self.shares is not None:
            _check_shares(self.shares, self.corpora)
        return self

    @property
    def corpora(self) -> tuple[str, ...]:
        """The corpora in their order, also where there is one."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus


def _check_shares(shares: dict[str, float], corpora: tuple[str, ...]) -> None:
    if set(shares) != set(corpora):
        raise ValueError(
            f"`shares` names {', '.join(sorted(shares)) or 'nothing'}, and the corpora are "
            f"{', '.join(corpora)}: give each its share"
        )
    if any(share <= 0 for share in shares.values()):
        raise ValueError("`shares` must be above 0: leave a corpus without one out")
    # sums of decimal fractions are exact to a few units of 2^-53
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"`shares` sum to {sum(shares.values()):g}, not to 1")
