"""Read the calibration text once, and keep only sums: what calibrated scorers need.

Every scorer declares the statistics that it needs; `collect` gathers all of them in one forward
pass over the text, and one backward pass where gradients are asked for. A statistic is a sum over
sequences of a quantity of one sequence, so neither the batch size nor the order of the sequences
changes it, and padding never enters. Sums are kept per fold (sequence `i` belongs to fold
`i mod K`), so that any scorer's sampling error follows from leaving one fold out at a time.

Memory: one batch of activations, and K sums per statistic; no activation outlives its batch.

Reference: [1] delete-a-group jackknife: Kott 2001, Journal of Official Statistics 17(4), 521-526.
"""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import context_length
from sentinel_research.models.modes import eager_attention, evaluating, frozen
from sentinel_research.pruning.meters import Batch, Meter, Need, make_meters

NUM_FOLDS = 8


@dataclass(frozen=True)
class Totals:
    """Sums over some of the calibration sequences."""

    num_sequences: int
    """Sequences that were summed over."""
    num_tokens: int
    """Text positions that were summed over."""
    sums: dict[Need, list[Float64[Tensor, "..."]]]
    """For every statistic and layer the sum."""

    def layers(self, name: str, kind: str) -> list[Float64[Tensor, "..."]]:
        """The sums of one statistic, per layer."""
        return self.sums[name, kind]

    def means(self, name: str, kind: str) -> list[Float64[Tensor, "..."]]:
        """The means of one statistic over the sequences, per layer."""
        return [layer / self.num_sequences for layer in self.layers(name, kind)]


@dataclass(frozen=True)
class Statistics:
    """Sums per fold of the calibration sequences."""

    num_sequences: Int[Tensor, " folds"]
    """Sequences of each fold."""
    num_tokens: Int[Tensor, " folds"]
    """Text positions of each fold."""
    sums: dict[Need, list[Float64[Tensor, "folds_or_1 ..."]]]
    """For every statistic and layer the sum of each fold, or one sum of all of them."""
    seconds: float = 0.0
    """Wall-clock time of the pass."""

    @property
    def num_folds(self) -> int:
        """Folds that hold a sequence."""
        return int((self.num_sequences > 0).sum())

    def over(self, folds: Iterable[int]) -> Totals:
        """Sums over some folds; statistics that are not kept per fold are part of `total` only."""
        chosen = list(folds)
        sums = {}
        for need, layers in self.sums.items():
            if all(len(layer) == len(self.num_sequences) for layer in layers):
                sums[need] = [layer[chosen].sum(dim=0) for layer in layers]
            elif len(chosen) == self.num_folds:
                sums[need] = [layer[0] for layer in layers]
        return Totals(
            int(self.num_sequences[chosen].sum()), int(self.num_tokens[chosen].sum()), sums
        )

    def total(self) -> Totals:
        """Sums over all sequences."""
        return self.over(range(self.num_folds))

    def without_each(self) -> list[Totals]:
        """Sums over all folds but one, for each one."""
        folds = range(self.num_folds)
        return [self.over(other for other in folds if other != fold) for fold in folds]

    def halves(self) -> tuple[Totals, Totals]:
        """Sums over two disjoint halves of the folds."""
        return self.over(range(0, self.num_folds, 2)), self.over(range(1, self.num_folds, 2))


def collect(
    model: PreTrainedModel,
    calibration: CalibrationSet,
    needs: Iterable[Need],
    *,
    batch_size: int = 16,
) -> Statistics:
    """Gather statistics in one pass over the calibration text.

    Args:
        model: Dense or pruned model of a known family; left as it was.
        calibration: The text.
        needs: Pairs of a statistic's name and the kind of unit that it is for.
        batch_size: Sequences per pass; it changes no statistic.

    Returns:
        The sums.

    Raises:
        UsageError: if the text does not suit the model, or a statistic is unknown.
        CheckFailedError: if a statistic could not be measured.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size} is not positive")
    check_calibration(calibration, model)
    began = time.perf_counter()
    num_folds = min(NUM_FOLDS, len(calibration))
    with contextlib.ExitStack() as modes:
        # the caller may be in inference mode, under which nothing has a gradient
        modes.enter_context(torch.inference_mode(False))
        counts = torch.zeros(2, num_folds, dtype=torch.long)
        meters = make_meters(model, sorted(set(needs)), num_folds)
        modes.enter_context(evaluating(model))
        modes.enter_context(frozen(model))
        if any(meter.needs_probabilities for meter in meters):
            modes.enter_context(eager_attention(model))
        for start in range(0, len(calibration), batch_size):
            part = calibration.select(slice(start, start + batch_size))
            folds = torch.arange(start, start + len(part)) % num_folds
            counts[0].index_add_(0, folds, torch.ones_like(folds))
            counts[1].index_add_(0, folds, part.is_text.sum(dim=1).cpu())
            _measure(model, part.to(model.device), folds, meters)
    sums = {need: layers for meter in meters for need, layers in meter.results().items()}
    return Statistics(counts[0], counts[1], sums, time.perf_counter() - began)


def _measure(
    model: PreTrainedModel, part: CalibrationSet, folds: Tensor, meters: list[Meter]
) -> None:
    """One forward pass, and one backward pass if a meter has leaves."""
    batch = Batch(part, folds)
    passive = [meter for meter in meters if not meter.runs_alone]
    with contextlib.ExitStack() as watching:
        leaves: list[Tensor] = []
        owners: list[tuple[Meter, int]] = []
        for meter in passive:
            watching.enter_context(meter.watch(model, batch))
            mine = meter.leaves()
            owners.append((meter, len(mine)))
            leaves += mine
        if passive and not leaves:
            with torch.no_grad():
                forward(model, part)
        if leaves:
            # the caller may have switched gradients off
            with torch.enable_grad():
                # sequences do not interact: the sum's gradient holds each one's own
                loss = sequence_nll(forward(model, part), part).sum()
            gradients = list(torch.autograd.grad(loss, leaves))
            for meter, count in owners:
                meter.receive(batch, gradients[:count])
                del gradients[:count]
    for meter in meters:
        if meter.runs_alone:
            with torch.no_grad():
                meter.run(model, batch, lambda: sequence_nll(forward(model, part), part))


def forward(model: PreTrainedModel, part: CalibrationSet) -> Float[Tensor, "batch seq vocab"]:
    """Logits of all positions; the padding mask is given only where there is padding."""
    visible = {} if bool(part.is_text.all()) else {"attention_mask": part.is_text.long()}
    logits: Tensor = model(part.ids, use_cache=False, **visible).logits
    return logits


def sequence_nll(
    logits: Float[Tensor, "batch seq vocab"], part: CalibrationSet
) -> Float[Tensor, " batch"]:
    """Mean negative log-likelihood per target token of each sequence.

    Args:
        logits: Of all positions; token t+1 is predicted at position t.
        part: The sequences.

    Returns:
        In nats, float32 or wider, [batch].
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    predictions = logits[:, :-1].to(wide).transpose(1, 2)  # [B, V, T - 1]
    losses = F.cross_entropy(predictions, part.ids[:, 1:], reduction="none")
    targets = part.is_target[:, 1:]
    return (losses * targets).sum(dim=1) / targets.sum(dim=1)


def check_calibration(calibration: CalibrationSet, model: PreTrainedModel) -> None:
    """Refuse calibration text that does not suit the model.

    Raises:
        UsageError: for the wrong length or vocabulary, padding before text, or sequences without a
            target.
    """
    num_sequences, length = calibration.ids.shape
    longest = context_length(model.config)
    if num_sequences < 1 or length < 2 or (longest is not None and length > longest):
        limit = f"of 2 to {longest} tokens (the model's context)" if longest else "of 2 tokens"
        raise UsageError(
            f"calibration has {num_sequences} sequences of {length} tokens",
            f"There must be at least one, {limit}.",
        )
    is_text, is_target = calibration.is_text, calibration.is_target
    if bool((is_text[:, 1:] & ~is_text[:, :-1]).any()) or bool((is_target & ~is_text).any()):
        raise UsageError(
            "a calibration sequence has text after padding, or a target at padding",
            "Padding comes after the text, and only text counts in the loss.",
        )
    # padding is embedded like text
    low, high = int(calibration.ids.min()), int(calibration.ids.max())
    if low < 0 or high >= model.config.vocab_size:
        raise UsageError(
            f"calibration token ids run from {low} to {high}, the model's vocabulary has "
            f"{model.config.vocab_size} tokens",
            "Calibrate with the model's own tokenizer.",
        )
    if not bool(is_target[:, 1:].any(dim=1).all()):
        raise UsageError("a calibration sequence has no token whose prediction counts")
