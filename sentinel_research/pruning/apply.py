"""Prune a model: score its heads, choose, and remove or mask them."""

import hashlib
import time
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models.heads import Heads, heads_of
from sentinel_research.pruning.calibrate import ScoringInputs
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.plan import PruningPlan, make_plan
from sentinel_research.pruning.report import PruneReport, forward_flops_per_token, probe_length
from sentinel_research.pruning.select import Selection, select
from sentinel_research.pruning.surgery import remove
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec

_BATCH_SIZE = 16


class Planned(NamedTuple):
    """A plan, and what making it involved."""

    plan: PruningPlan
    """Which heads stay, and why."""
    selection: Selection
    """Chosen units; tells whether the minimum per layer got in the way."""
    scoring_seconds: float
    """Wall-clock time of scoring."""


class Pruned(NamedTuple):
    """What `prune` returns."""

    model: PreTrainedModel
    """A new model; the one given is unchanged."""
    report: PruneReport
    """What was done to it."""


class Scores(NamedTuple):
    """What a scorer said about every head; it serves any fraction, scope and granularity."""

    heads: list[list[float]]
    """Per layer the importance of each head that is still there, higher is more important."""
    calibration: str | None
    """Fingerprint of the calibration request and its tokens; None for scorers without text."""
    seconds: float
    """Wall-clock time of scoring."""


def score_heads(
    model: PreTrainedModel, spec: PruneSpec, sequences: Int[Tensor, "num seq"] | None = None
) -> Scores:
    """Score every head of a model, without touching it.

    Args:
        model: Dense or already pruned model of a known family.
        spec: Its scorer, seed and calibration are used.
        sequences: Calibration token ids without padding, for calibrated scorers.

    Returns:
        The scores.

    Raises:
        UsageError: if the scorer or the family is unknown, calibration is missing or does not suit
            the model, or a score is not finite.
    """
    scorer = get("scorers", spec.scorer)
    if scorer.calibrated and sequences is None:
        raise UsageError(
            f"scorer '{spec.scorer}' reads calibration text, and none was given",
            "Set `calibration` in the pruning spec (corpus, num_sequences, sequence_length).",
        )
    used = sequences if scorer.calibrated else None
    batch_size = spec.calibration.batch_size if spec.calibration else 16
    inputs = ScoringInputs(model=model, seed=spec.seed, sequences=used, batch_size=batch_size)
    start = time.perf_counter()
    scores = [layer.tolist() for layer in scorer(inputs)]
    seconds = time.perf_counter() - start
    expected = list(inputs.heads.num_heads_per_layer)
    if [len(layer) for layer in scores] != expected:
        raise UsageError(
            f"scorer '{spec.scorer}' returned {[len(layer) for layer in scores]} scores per layer, "
            f"the model has {expected} heads",
        )
    return Scores(scores, _calibration_fingerprint(spec, used), seconds)


def plan_heads(
    model: PreTrainedModel,
    spec: PruneSpec,
    sequences: Int[Tensor, "num seq"] | None = None,
    *,
    scores: Scores | None = None,
) -> Planned:
    """Decide which heads go, without touching the model.

    Args:
        model: Dense or already pruned model of a known family.
        spec: The request; its fraction is of the units that the model still has.
        sequences: Calibration token ids without padding, for calibrated scorers.
        scores: What `score_heads` returned for this model and scorer; scored anew if absent.

    Returns:
        The plan with its scores.

    Raises:
        UsageError: see `score_heads`.
    """
    scores = scores or score_heads(model, spec, sequences)
    heads = heads_of(model.config)
    units = _units(heads, spec.granularity)
    selection = select(
        _unit_scores(heads, units, scores.heads),
        spec.fraction,
        scope=spec.scope,
        min_per_layer=spec.min_heads_per_layer,
    )
    made = make_plan(
        heads,
        _kept(heads, units, selection),
        scorer=spec.scorer,
        seed=spec.seed if get("scorers", spec.scorer).seeded else None,
        fraction=spec.fraction,
        scope=spec.scope,
        granularity=spec.granularity,
        calibration=scores.calibration,
        scores=scores.heads,
    )
    return Planned(made, selection, scores.seconds)


def _units(heads: Heads, granularity: str) -> list[list[tuple[int, ...]]]:
    """For each layer the units, each as the original indices of its query heads."""
    if granularity == "head":
        return [[(head,) for head in kept] for kept in heads.kept]
    return [
        [
            tuple(head for head in kept if head // heads.group_size == group)
            for group in heads.kv_kept(layer)
        ]
        for layer, kept in enumerate(heads.kept)
    ]


def _unit_scores(
    heads: Heads, units: list[list[tuple[int, ...]]], scores: list[list[float]]
) -> list[list[float]]:
    """A unit is as important as its query heads together."""
    return [
        [sum(values[kept.index(head)] for head in unit) for unit in layer_units]
        for kept, layer_units, values in zip(heads.kept, units, scores, strict=True)
    ]


def _kept(
    heads: Heads, units: list[list[tuple[int, ...]]], selection: Selection
) -> tuple[tuple[int, ...], ...]:
    gone = [
        {head for unit in removed for head in layer_units[unit]}
        for layer_units, removed in zip(units, selection.removed, strict=True)
    ]
    return tuple(
        tuple(head for head in kept if head not in lost)
        for kept, lost in zip(heads.kept, gone, strict=True)
    )


def _calibration_fingerprint(spec: PruneSpec, sequences: Tensor | None) -> str | None:
    """The request's fingerprint, and sixteen digits of the SHA-256 of the tokens themselves."""
    if sequences is None:
        return None
    tokens = sequences.to(device="cpu", dtype=torch.int64).contiguous().numpy().tobytes()
    digest = hashlib.sha256(tokens).hexdigest()[:16]
    return f"{spec.calibration.fingerprint()}:{digest}" if spec.calibration else digest


def prune(
    model: PreTrainedModel,
    spec: PruneSpec,
    *,
    sequences: Int[Tensor, "num seq"] | None = None,
    scores: Scores | None = None,
) -> Pruned:
    """Prune heads of a model.

    Args:
        model: Dense or already pruned model of a known family; it is not changed.
        spec: The request.
        sequences: Calibration token ids without padding, for calibrated scorers.
        scores: See `plan_heads`.

    Returns:
        The pruned model and the report.

    Raises:
        UsageError: see `plan_heads`.
        CheckpointError: if the pruned model does not compute what the masked one computes.
        CheckFailedError: if the parameters did not fall by the predicted number.

    Example:
        >>> from sentinel_research.models.tiny import tiny_model
        >>> from sentinel_research.specs import PruneSpec
        >>> model = tiny_model("gpt2")
        >>> pruned, report = prune(model, PruneSpec(scorer="magnitude", fraction=0.4))
        >>> report.num_parameters_before - report.num_parameters_after
        4428
    """
    planned = plan_heads(model, spec, sequences, scores=scores)
    pruned = (remove if spec.form == "remove" else mask)(model, planned.plan)
    predicted = _predicted(spec, planned.plan)
    before, after = model.num_parameters(), pruned.num_parameters()
    if before - after != predicted:
        raise CheckFailedError(
            f"pruning removed {before - after:,} parameters, the plan predicts {predicted:,}",
            "This is a defect in the head surgery of this model family; please report it.",
        )
    return Pruned(pruned, _report(model, pruned, spec, planned))


def _predicted(spec: PruneSpec, plan: PruningPlan) -> int:
    return plan.parameters_removed if spec.form == "remove" else 0


def _report(
    model: PreTrainedModel, pruned: PreTrainedModel, spec: PruneSpec, planned: Planned
) -> PruneReport:
    length = probe_length(model)
    return PruneReport(
        plan=planned.plan,
        form=spec.form,
        removed_heads=planned.plan.removed_heads,
        num_heads_removed=planned.plan.num_removed,
        num_heads_before=sum(heads_of(model.config).num_heads_per_layer),
        num_units_requested=planned.selection.num_requested,
        num_units_removed=planned.selection.num_removed,
        num_units_short=planned.selection.shortfall,
        num_parameters_before=model.num_parameters(),
        num_parameters_after=pruned.num_parameters(),
        num_parameters_removed_predicted=_predicted(spec, planned.plan),
        flops_per_token_before=forward_flops_per_token(model, length),
        flops_per_token_after=forward_flops_per_token(pruned, length),
        flops_sequence_length=length,
        scoring_seconds=planned.scoring_seconds,
    )
