"""What one pruning did: counts that were measured, beside what was predicted."""

from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of, context_length
from sentinel_research.models.fingerprint import config_fingerprint
from sentinel_research.models.flops import forward_flops
from sentinel_research.models.layout import norm_stays, structure_of
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.surgery import slice_state_dict
from sentinel_research.quantisation import QuantiseReport
from sentinel_research.specs import PruneSpec, Spec
from sentinel_research.specs.prune import PruneForm
from sentinel_research.structure import UNIT_KINDS

if TYPE_CHECKING:
    from sentinel_research.pruning.apply import Planned

_LONGEST_PROBE = 128


class PruneReport(Spec):
    """One pruning, for the run record."""

    plan: PruningPlan
    """What stays, and why."""
    form: PruneForm
    """Whether weights were sliced, outputs multiplied by zero, or consent was withdrawn."""
    compensate: Literal["none", "bias"]
    """Whether output biases took over the mean of what went."""
    removed: dict[str, list[str]]
    """Per kind the labels of the units that went; none for single weights."""
    num_removed: dict[str, int]
    """Per kind how many units went; `weight` counts single weights, see `PruningPlan`."""
    num_before: dict[str, int]
    """Per kind how many units the model had before."""
    budget_requested: float | None
    """What the fraction asked for, in units, parameters or FLOPs; null for single weights."""
    budget_achieved: float | None
    """What the chosen units come to; less where a minimum per layer or whole units forbid more."""
    selection_overlap: float | None
    """Jaccard overlap of the selections from two disjoint halves of the calibration text."""
    num_parameters_before: int
    """Parameters before, measured."""
    num_parameters_after: int
    """Parameters after, measured; what the plan predicts, or pruning fails."""
    num_nonzero_parameters_after: int
    """Parameters after that are not exactly zero; those of a mask's removed units do not count."""
    flops_per_token_before: float
    """Forward floating-point operations per token before, at `flops_sequence_length`."""
    flops_per_token_after: float
    """The same afterwards."""
    flops_sequence_length: int
    """Tokens of the sequence that operations were counted on."""
    quantised: QuantiseReport | None = None
    """How weights were rounded, before or after pruning; null where they were not."""
    scoring_seconds: float = Field(ge=0)
    """Wall-clock time of scoring, a calibration pass shared with other scorers included."""


def report_of(
    model: PreTrainedModel,
    pruned: PreTrainedModel,
    spec: PruneSpec,
    planned: "Planned",
    scoring_seconds: float,
) -> PruneReport:
    """Measure what a pruning did."""
    length, plan, structure = probe_length(model), planned.plan, structure_of(model.config)
    return PruneReport(
        plan=plan,
        form=spec.form,
        compensate=spec.compensate,
        removed=plan.removed,
        num_removed=plan.num_removed,
        num_before={kind: sum(structure.num_units(kind)) for kind in UNIT_KINDS},
        budget_requested=planned.selection.requested if planned.selection else None,
        budget_achieved=planned.selection.achieved if planned.selection else None,
        selection_overlap=planned.overlap,
        num_parameters_before=model.num_parameters(),
        num_parameters_after=pruned.num_parameters(),
        num_nonzero_parameters_after=count_nonzero(pruned, plan),
        flops_per_token_before=_flops_before(model, length),
        flops_per_token_after=forward_flops_per_token(pruned, length),
        flops_sequence_length=length,
        scoring_seconds=scoring_seconds,
    )


# by model, for what its configuration was: a sweep prunes one model many times
_COUNTED: WeakKeyDictionary[PreTrainedModel, dict[tuple[str, int], float]] = WeakKeyDictionary()


def _flops_before(model: PreTrainedModel, length: int) -> float:
    known, asked = _COUNTED.setdefault(model, {}), (config_fingerprint(model.config), length)
    if asked not in known:
        known[asked] = forward_flops_per_token(model, length)
    return known[asked]


def with_quantised(
    report: PruneReport, pruned: PreTrainedModel, quantised: QuantiseReport
) -> PruneReport:
    """A report of a model whose weights were rounded: small ones have become zeros."""
    nonzero = count_nonzero(pruned, report.plan)
    changes = {"quantised": quantised, "num_nonzero_parameters_after": nonzero}
    return report.model_copy(update=changes)


def probe_length(model: PreTrainedModel) -> int:
    """Tokens of the sequence that operations are counted on: 128, or the context if shorter."""
    return min(_LONGEST_PROBE, context_length(model.config) or _LONGEST_PROBE)


@torch.no_grad()
def count_nonzero(model: PreTrainedModel, plan: PruningPlan) -> int:
    """Parameters that a plan leaves and that are not exactly zero.

    Args:
        model: Masked, or already without what goes; shared parameters count once.
        plan: What was done to it.
    """
    before = structure_of(model.config)
    state: dict[str, Tensor] = dict(model.named_parameters())
    if before.layers != plan.kept:
        state = slice_state_dict(
            state,
            anatomy_of(model.config),
            before,
            before.reduced_to(plan.kept),
            keeps_norms=norm_stays(model.config),
        )
    return sum(int(parameter.count_nonzero()) for parameter in state.values())


def forward_flops_per_token(model: PreTrainedModel, sequence_length: int) -> float:
    """Floating-point operations of a forward pass per token, all logits included.

    Args:
        model: Any causal language model whose attention implementation can be switched.
        sequence_length: Tokens of the sequence.

    Returns:
        Operations per token, see `models.flops`; a multiply-add counts two.
    """
    ids = torch.zeros(1, sequence_length, dtype=torch.long, device=model.device)
    return forward_flops(model, ids, use_cache=False) / sequence_length
