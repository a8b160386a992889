"""Prune a model: score its units, choose, and remove or mask them."""

from typing import Any, NamedTuple

from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.algebra import transfer
from sentinel_research.pruning.calibrate import Totals
from sentinel_research.pruning.compensate import MEAN_OUTPUTS, add_mean_outputs
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.named import named_plan
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.quantised import quantise_after, quantise_before, scored_grid
from sentinel_research.pruning.report import (
    PruneReport,
    probe_length,
    report_of,
    with_quantised,
)
from sentinel_research.pruning.score import WEIGHT_KINDS, Scores, UnitValues, score_units
from sentinel_research.pruning.select import Chosen, Selection, normalised, select
from sentinel_research.pruning.sparsify import sparsify
from sentinel_research.pruning.surgery import remove
from sentinel_research.pruning.units import budget_cost, kept_parts, removed_units
from sentinel_research.pruning.withdrawn import withdraw
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec
from sentinel_research.structure import Structure


class Planned(NamedTuple):
    """A plan, and what making it involved."""

    plan: PruningPlan
    """What stays, and why."""
    selection: Selection | None
    """Chosen units, and how far they meet the budget; None for single weights."""
    overlap: float | None
    """Jaccard overlap of the selections made from two disjoint halves of the calibration text."""


class Pruned(NamedTuple):
    """What `prune` returns."""

    model: PreTrainedModel
    """A new model; the one given is unchanged."""
    report: PruneReport
    """What was done to it."""


def plan_units(
    model: PreTrainedModel,
    spec: PruneSpec,
    calibration: CalibrationSet | None = None,
    *,
    scores: Scores | None = None,
    pattern: PruningPlan | None = None,
    first: PruningPlan | None = None,
) -> Planned:
    """Decide which units go, without touching the model.

    Args:
        model: Dense or already pruned model of a known family.
        spec: The request; its fraction is of what the model still has.
        calibration: Text for calibrated scorers.
        scores: What `score_units` returned for this model and scorer; scored anew if absent.
        pattern: A plan of another model, which decides how many units go at which depth and rank
            (`algebra.transfer`) in place of fraction, scope and budget. Not for single weights.
        first: A plan of this model: what it takes away goes before everything else, so that a
            larger fraction contains it whatever the scores say now. Not with a pattern.

    Returns:
        The plan with its scores.

    Raises:
        UsageError: see `score_units` and `algebra.transfer`; or the plan would remove everything.
    """
    _check_pattern(spec, pattern)
    structure = structure_of(model.config)
    if spec.units:
        return Planned(named_plan(structure, spec), None, None)
    scores = scores or score_units(model, spec, calibration)
    if spec.granularities[0] in WEIGHT_KINDS:
        return Planned(sparsify(model, spec, scores, calibration, first)[1], None, None)
    if pattern is not None:
        return Planned(_moved(pattern, structure, spec, scores), None, None)
    length = probe_length(model)
    earlier = removed_units(structure, spec.granularities, first.kept) if first else None
    selection = _choose(structure, spec, scores.values, length, earlier)
    overlap = None
    if scores.halves is not None:
        one, other = (
            _chosen(_choose(structure, spec, values, length, earlier)) for values in scores.halves
        )
        overlap = len(one & other) / len(one | other) if one | other else 1.0
    return Planned(_without(selection, structure, spec, scores), selection, overlap)


def _moved(
    pattern: PruningPlan, structure: Structure, spec: PruneSpec, scores: Scores
) -> PruningPlan:
    """The plan that removes what `pattern` removes of its own model."""
    moved = transfer(
        pattern,
        structure,
        scores.values,
        whole_groups="kv_group" in spec.granularities,
        min_per_layer=spec.min_per_layer,
    )
    origin = {"fraction": spec.fraction, "granularity": spec.granularities}
    return moved.model_copy(update={**origin, **_origin(scores, spec)})


def _without(
    selection: Selection, structure: Structure, spec: PruneSpec, scores: Scores
) -> PruningPlan:
    """The plan that removes the selected units."""
    kept = kept_parts(structure, selection.removed)
    return make_plan(
        structure,
        [layer.heads for layer in kept],
        neurons=[layer.neurons for layer in kept],
        without={
            "attention": [i for i, layer in enumerate(kept) if not layer.has_attention],
            "ffn": [i for i, layer in enumerate(kept) if not layer.has_ffn],
        },
        scorer=spec.scorer,
        seed=spec.seed if get("scorers", spec.scorer).seeded else None,
        fraction=spec.fraction,
        budget=spec.budget,
        scope=spec.scope,
        granularity=spec.granularities,
        **_origin(scores, spec),
    )


def _check_pattern(spec: PruneSpec, pattern: PruningPlan | None) -> None:
    if pattern is not None and spec.granularities[0] in WEIGHT_KINDS:
        raise UsageError(
            f"a pattern was given for granularity {spec.granularities[0]}, which has none",
            "Heads, KV groups and neurons have ranks inside a layer; leave `pattern` out.",
        )


def _origin(scores: Scores, spec: PruneSpec) -> dict[str, Any]:
    """Where a plan's ranking came from."""
    values, errors = scores.values, scores.errors
    return {
        "calibration": scores.calibration,
        "scores": {kind: tuple(map(tuple, layers)) for kind, layers in values.items()},
        "score_errors": errors and {k: tuple(map(tuple, layers)) for k, layers in errors.items()},
        "quantised_scores": scored_grid(spec),
    }


def _choose(
    structure: Structure,
    spec: PruneSpec,
    values: UnitValues,
    length: int,
    first: Chosen | None,
) -> Selection:
    scores: UnitValues = {kind: values[kind] for kind in spec.granularities}
    return select(
        normalised(scores) if spec.normalise == "layer" else scores,
        spec.fraction,
        scope=spec.scope,
        min_per_layer=spec.min_per_layer,
        cost=budget_cost(structure, spec.budget, length),
        first=first,
    )


def _chosen(selection: Selection) -> set[tuple[str, int, int]]:
    return {
        (kind, layer, unit)
        for kind, layers in selection.removed.items()
        for layer, units in enumerate(layers)
        for unit in units
    }


def prune(
    model: PreTrainedModel,
    spec: PruneSpec,
    *,
    calibration: CalibrationSet | None = None,
    scores: Scores | None = None,
    pattern: PruningPlan | None = None,
) -> Pruned:
    """Prune a model.

    Args:
        model: Dense or already pruned model of a known family; it is not changed.
        spec: The request.
        calibration: Text for calibrated scorers and for bias compensation, read by `score_units`.
        scores: See `plan_units`. For `compensate: bias` made by a spec that says so too.
        pattern: See `plan_units`.

    Returns:
        The pruned model and the report.

    Raises:
        UsageError: see `plan_units`; or the scores hold nothing to compensate with, or weights
            cannot be quantised.
        CheckpointError: if the pruned model does not compute what the masked one computes.
        CheckFailedError: if the parameters did not fall by the predicted number.

    Example:
        >>> from sentinel_research.models.tiny import tiny_model
        >>> from sentinel_research.specs import PruneSpec
        >>> model = tiny_model("gpt2")
        >>> pruned, report = prune(model, PruneSpec(scorer="magnitude_l2", fraction=0.4))
        >>> report.num_parameters_before - report.num_parameters_after
        4428
    """
    _check_pattern(spec, pattern)
    scores = scores or score_units(model, spec, calibration)
    dense, (model, quantised) = model, quantise_before(model, spec)
    base = model
    if spec.granularities[0] in WEIGHT_KINDS:
        base, plan = sparsify(model, spec, scores, calibration)
        planned = Planned(plan, None, None)
    else:
        planned = plan_units(model, spec, calibration, scores=scores, pattern=pattern)
        if spec.compensate == "bias":
            base = add_mean_outputs(model, planned.plan, _mean_outputs(scores))
    pruned, report = carry_out(base, spec, planned, scores.seconds, before=dense, text=calibration)
    quantised = quantise_after(pruned, spec) or quantised
    return Pruned(
        pruned, report if quantised is None else with_quantised(report, pruned, quantised)
    )


def carry_out(
    base: PreTrainedModel,
    spec: PruneSpec,
    planned: Planned,
    scoring_seconds: float,
    *,
    before: PreTrainedModel | None = None,
    text: CalibrationSet | None = None,
) -> Pruned:
    """Apply a plan in the form that a pruning asks for, and measure what it did.

    Args:
        base: The model that the plan is applied to; it is not changed.
        spec: For the form.
        planned: What `plan_units` returned.
        scoring_seconds: Wall-clock time of scoring, for the report.
        before: What the report compares with, where that is not `base`.
        text: What the policy of a model with agency reads, where consent is withdrawn.

    Returns:
        The pruned model and the report.

    Raises:
        CheckpointError: if the pruned model does not compute what the masked one computes.
        CheckFailedError: if the parameters did not fall by the predicted number.
    """
    pruned = _in_form(base, spec, planned.plan, text)
    _check_count(base, pruned, spec, planned.plan)
    report = report_of(base if before is None else before, pruned, spec, planned, scoring_seconds)
    return Pruned(pruned, report)


def _in_form(
    base: PreTrainedModel, spec: PruneSpec, plan: PruningPlan, text: CalibrationSet | None
) -> PreTrainedModel:
    if spec.form == "withdraw":
        return withdraw(base, plan, text)
    return (remove if spec.form == "remove" else mask)(base, plan)


def _mean_outputs(scores: Scores) -> Totals:
    if scores.statistics is None or not set(MEAN_OUTPUTS) <= scores.statistics.sums.keys():
        raise UsageError(
            "`compensate: bias` reads the mean outputs of heads and neurons, and the scores given "
            "were made without them",
            "Score with the same spec: score_units(model, spec, calibration), or leave `scores` "
            "out.",
        )
    return scores.statistics.total()


def _check_count(
    base: PreTrainedModel, pruned: PreTrainedModel, spec: PruneSpec, plan: PruningPlan
) -> None:
    before = structure_of(base.config)
    left = before.reduced_to(plan.kept).num_parameters()
    predicted = before.num_parameters() - left if spec.form == "remove" else 0
    found = base.num_parameters() - pruned.num_parameters()
    if found != predicted:
        raise CheckFailedError(
            f"pruning removed {found:,} parameters, the plan predicts {predicted:,}",
            "This is a defect in the surgery of this model family; please report it.",
        )
