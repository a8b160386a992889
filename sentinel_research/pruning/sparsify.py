"""Set single weights to zero: unstructured, or two of every four.

Weights are compared inside an output row (`local`) or inside a matrix (`global`), in every
projection of every layer; embeddings, norms and biases stay.

Reference: [1] Sun et al. 2023, Wanda, section 3 (comparison groups),
https://arxiv.org/abs/2306.11695; [2] Frantar & Alistarh 2023, SparseGPT,
https://arxiv.org/abs/2301.00774; [3] Mishra et al. 2021, Accelerating Sparse Deep Neural Networks
(2:4), https://arxiv.org/abs/2104.08378.
"""

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.quantised import as_scored, scored_grid
from sentinel_research.pruning.score import Scores
from sentinel_research.pruning.scoring import ScoringInputs
from sentinel_research.pruning.sparse import keep_largest, keep_n_of_m
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec

GROUP = (2, 4)


def sparsify(
    model: PreTrainedModel,
    spec: PruneSpec,
    scores: Scores,
    calibration: CalibrationSet | None,
    first: PruningPlan | None = None,
) -> tuple[PreTrainedModel, PruningPlan]:
    """Choose single weights and, for solvers, new values of the others.

    Args:
        model: Dense or pruned model; it is not changed.
        spec: With granularity `weight` or `2:4`.
        scores: What `score_units` returned, for its statistics.
        calibration: Text for solvers.
        first: A plan of this model whose weights go before all others; not for solvers.

    Returns:
        The model with updated weights (a copy; equal to the model without a solver), and the plan
        of the weights that go.

    Raises:
        UsageError: if a width does not divide by four for `2:4`, or a solver is asked to compare
            weights otherwise than it does.
    """
    check_layout(model)
    plugin = get("scorers", spec.scorer)
    if plugin.solver and spec.scope == "global":
        raise UsageError(
            f"{spec.scorer} chooses the weights of a block of columns together, whatever the scope",
            "leave out `scope: global`",
        )
    updated, keeps = _chosen(model, spec, scores, calibration, first)
    stored = anatomy_of(model.config).weight
    masks = {
        f"{path}.weight": WeightMask.of((keep if stored == "linear" else keep.T).cpu().numpy())
        for path, keep in keeps.items()
    }
    plan = make_plan(
        structure_of(model.config),
        weights=masks,
        scorer=spec.scorer,
        seed=spec.seed if plugin.seeded else None,
        fraction=spec.fraction,
        budget=spec.budget,
        scope=spec.scope,
        granularity=spec.granularities,
        calibration=scores.calibration,
        quantised_scores=scored_grid(spec),
    )
    return updated, plan


def _chosen(
    model: PreTrainedModel,
    spec: PruneSpec,
    scores: Scores,
    calibration: CalibrationSet | None,
    first: PruningPlan | None,
) -> tuple[PreTrainedModel, dict[str, Bool[Tensor, "outputs inputs"]]]:
    """The model with updated weights, and per projection which of them stay."""
    plugin = get("scorers", spec.scorer)
    if plugin.solver:
        return plugin(copy.deepcopy(model), spec, calibration)
    inputs = ScoringInputs(
        model=as_scored(model, spec),
        kind="weight",
        seed=spec.seed,
        totals=scores.statistics.total() if scores.statistics else None,
    )
    keeps = {}
    for path, matrix in zip(inputs.projections, plugin(inputs), strict=True):
        gone = None if first is None else _gone(model, first.weights[f"{path}.weight"], matrix)
        lowest = torch.finfo(matrix.dtype).min
        ranked = matrix if gone is None else matrix.masked_fill(gone, lowest)
        keeps[path] = keep_mask(ranked, spec)
    return model, keeps


def _gone(
    model: PreTrainedModel, weights: WeightMask, matrix: Float[Tensor, "outputs inputs"]
) -> Bool[Tensor, "outputs inputs"]:
    """What an earlier plan took of a matrix, where the scores of the matrix are."""
    gone = torch.from_numpy(~weights.keep()).to(matrix.device)
    return gone if anatomy_of(model.config).weight == "linear" else gone.T


def keep_mask(
    scores: Float[Tensor, "outputs inputs"], spec: PruneSpec
) -> Bool[Tensor, "outputs inputs"]:
    """True for the weights of a matrix that stay."""
    if "2:4" in spec.granularities:
        if spec.fraction == 0:
            return torch.ones_like(scores, dtype=torch.bool)
        return keep_n_of_m(scores, *GROUP)
    return keep_largest(scores, spec.fraction, per="row" if spec.scope == "local" else "matrix")
