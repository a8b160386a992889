"""Less important heads are trained more slowly, pruned ones not at all."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from sentinel_research.models.layout import structure_of
from sentinel_research.recoveries.importance import Importance, importance_of, scored_kinds
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.unit_factors import unit_factors
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class PerHeadLrOptions(Spec):
    """Which heads are inactive, and how much slower they are trained."""

    inactive_factor: float = Field(default=0.1, ge=0, le=1)
    """Updates of inactive heads, as a share of what an active head's would be."""
    inactive_below: float = Field(default=0.25, ge=0, le=1)
    """A head is inactive if its importance is below this quantile of the importances of all heads
    that are left; 0 calls none inactive."""


@recovery(
    "per_head_lr",
    summary="active heads train at the full rate, inactive ones at a part of it, pruned ones not",
    reference="Howard and Ruder 2018, section 3.2, https://arxiv.org/abs/1801.06146, by head",
    options=PerHeadLrOptions,
)
def per_head_lr(inputs: RecoveryInputs, options: PerHeadLrOptions) -> Adjustment:
    """Give every head an update factor: 1, `inactive_factor`, or 0 for a pruned one.

    Head `h` of layer `l` with importance `s_lh` is inactive if `s_lh < Q_q`, where `Q_q` is the
    quantile `q = inactive_below` (linear interpolation) of the importances of all heads that are
    left, all layers together. Importances are the plan's own scores; without scores of heads they
    are `magnitude_l2` of the model. A plan that scored neurons has them treated alike, with a
    quantile of their own.

    The factor scales what a whole step of the optimiser does to the head's query rows and output
    columns, and largest in its group to key and value rows; under AdamW, momentum and decoupled
    weight decay included, it is a learning rate of their own. All other parameters train fully.
    """
    structure = structure_of(inputs.model.config)
    factors: dict[str, list[Tensor]] = {}
    report: dict[str, Any] = {}
    for kind in scored_kinds(inputs.plan):
        found = importance_of(inputs, kind)
        threshold = _threshold(found, options.inactive_below)
        factors[kind] = [
            torch.where(values < threshold, options.inactive_factor, 1.0) * left
            for values, left in zip(found.values, found.is_left, strict=True)
        ]
        report[kind] = {
            "scorer": found.scorer,
            "threshold": threshold,
            "layers": [
                {"units": list(layer.units(kind)), "factors": values.tolist()}
                for layer, values in zip(structure.layers, factors[kind], strict=True)
            ],
        }
    return Adjustment(
        factors=unit_factors(inputs.model, factors), report=lambda: {"per_head_lr": report}
    )


def _threshold(found: Importance, quantile: float) -> float:
    """Importance below which a unit is inactive; 0 where no unit is left that could be."""
    values = found.of_left()
    return float(values.quantile(quantile)) if len(values) else 0.0
