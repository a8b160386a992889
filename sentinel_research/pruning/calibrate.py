"""What scorers read: the model, its heads, and calibration sequences.

Every calibrated scorer is a mean over sequences of a quantity of one sequence, so that neither the
batch size nor the order of the sequences changes a score.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import Anatomy, anatomy_of
from sentinel_research.models.heads import Heads, heads_of


@dataclass(frozen=True)
class ScoringInputs:
    """Everything a scorer may look at."""

    model: PreTrainedModel
    """The model, dense or already pruned."""
    seed: int = 0
    """For scorers that draw random numbers."""
    sequences: Int[Tensor, "num seq"] | None = None
    """Calibration token ids without padding; None if there are none."""
    batch_size: int = 16
    """Sequences per forward pass; it changes no score."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size} is not positive")
        if self.sequences is not None:
            _check_sequences(self.sequences, self.model)

    @property
    def anatomy(self) -> Anatomy:
        """The family's row."""
        return anatomy_of(self.model.config)

    @property
    def heads(self) -> Heads:
        """The heads that the model has."""
        return heads_of(self.model.config)

    @property
    def num_heads(self) -> tuple[int, ...]:
        """Query heads per layer; scorers return one score for each."""
        return self.heads.num_heads_per_layer

    def required_sequences(self) -> Int[Tensor, "num seq"]:
        """The calibration sequences.

        Raises:
            UsageError: if there are none.
        """
        if self.sequences is None:
            raise UsageError(
                "this scorer needs calibration text, and none was given",
                "Set `calibration` in the pruning spec (corpus, num_sequences, sequence_length).",
            )
        return self.sequences

    def batches(self) -> Iterator[Int[Tensor, "batch seq"]]:
        """The calibration sequences in order, on the model's device.

        Raises:
            UsageError: if there are none.
        """
        for batch in self.required_sequences().split(self.batch_size):
            yield batch.to(self.model.device)


def _check_sequences(sequences: Tensor, model: PreTrainedModel) -> None:
    if sequences.ndim != 2 or sequences.is_floating_point():
        raise UsageError(
            f"calibration sequences have shape {list(sequences.shape)} and type {sequences.dtype}",
            "They must be integer token ids of shape [sequences, tokens].",
        )
    num_sequences, length = sequences.shape
    longest = model.config.max_position_embeddings
    if num_sequences < 1 or not 2 <= length <= longest:
        raise UsageError(
            f"calibration has {num_sequences} sequences of {length} tokens",
            f"There must be at least one, of 2 to {longest} tokens (the model's context).",
        )
    low, high = int(sequences.min()), int(sequences.max())
    if low < 0 or high >= model.config.vocab_size:
        raise UsageError(
            f"calibration token ids run from {low} to {high}, the model's vocabulary has "
            f"{model.config.vocab_size} tokens",
            "Calibrate with the model's own tokenizer.",
        )


def sequence_nll(
    logits: Float[Tensor, "batch seq vocab"], ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, " batch"]:
    """Mean negative log-likelihood per predicted token of each sequence.

    Args:
        logits: Of all positions.
        ids: The tokens themselves; token t+1 is predicted at position t.

    Returns:
        In nats, float32 or wider, [batch].
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    predictions = logits[:, :-1].to(wide).transpose(1, 2)  # [B, V, T - 1]
    return F.cross_entropy(predictions, ids[:, 1:], reduction="none").mean(dim=1)
