"""Four ways to run one pruned model, all with the same outputs.

Level 0 computes every unit and multiplies what is silent by zero. Level 1 keeps all weights and
computes with those of the others, taken out anew at every call, so that units can come back. Level
2 has only the others' weights. Level 3 is level 2 compiled.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.errors import CheckFailedError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Anatomy
from sentinel_research.models.layout import head_columns, projection_rows, structure_of
from sentinel_research.models.modes import evaluating
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.surgery import probe_inputs, remove
from sentinel_research.structure import Structure
from sentinel_research.training.compiled import check_compiler

TOLERANCE = 1e-4
"""Of a logit, by the largest logit or 1: sums of floats in another order, grown over the layers."""
WORDS = {
    0: "silent units multiplied by zero",
    1: "silent units skipped, their weights kept",
    2: "silent units removed",
    3: "silent units removed, compiled",
}


class SkippingProjection(nn.Module):
    """A projection that computes with some of its weights.

    Args:
        weight: All of them, outputs by inputs.
        bias: All of it, or none.
        rows: Outputs that are computed; None for all.
        columns: Inputs that are given; None for all.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        rows: Int[Tensor, " rows"] | None,
        columns: Int[Tensor, " columns"] | None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        """Project `[..., columns]` to `[..., rows]`."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if self.rows is not None:
            weight = weight.index_select(0, self.rows)
            bias = None if bias is None else bias.index_select(0, self.rows)
        if self.columns is not None:
            weight = weight.index_select(1, self.columns)
        return nn.functional.linear(x, weight, bias)


def at_level(model: PreTrainedModel, plan: PruningPlan, level: int) -> PreTrainedModel:
    """A model that runs a plan as a level says.

    Args:
        model: Dense; it is not changed.
        plan: What stays.
        level: 0 to 3, see the module.

    Raises:
        UsageError: if level 3 has no compiler, or the plan does not fit.
    """
    if level == 0:
        return mask(model, plan)
    if level == 1:
        return skip(model, plan)
    if level == 2:
        return remove(model, plan)
    check_compiler(str(model.device))
    compiled = remove(model, plan)
    # in place: the model stays what it is for everyone who asks
    compiled.compile()
    return compiled


def skip(model: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A model with all weights of every block that stays, which computes with the plan's alone."""
    small, row = remove(model, plan), anatomy_of(model.config)
    before, after = structure_of(model.config), plan.after
    for layer in range(before.num_layers):
        _skip_heads(small, model, row, (before, after), layer)
        _skip_neurons(small, model, row, (before, after), layer)
    return small


def _skip_heads(
    small: PreTrainedModel,
    model: PreTrainedModel,
    row: Anatomy,
    structures: tuple[Structure, Structure],
    layer: int,
) -> None:
    before, after = structures
    old, new = before.layers[layer].heads, after.layers[layer].heads
    if old == new or not new:
        return
    queries = [old.index(head) for head in new]
    kvs = [before.kv_heads(layer).index(group) for group in after.kv_heads(layer)]
    for projection, path in zip(row.inputs, row.input_paths(layer, "attention"), strict=True):
        rows = projection_rows(before, layer, projection, queries, kvs)
        _replace(small, model, row, path, rows=rows)
    columns = head_columns(before, queries)
    _replace(small, model, row, row.output_path(layer, "attention"), columns=columns)


def _skip_neurons(
    small: PreTrainedModel,
    model: PreTrainedModel,
    row: Anatomy,
    structures: tuple[Structure, Structure],
    layer: int,
) -> None:
    old, new = (one.layers[layer].neurons for one in structures)
    if old == new or not new:
        return
    place = {neuron: local for local, neuron in enumerate(old)}
    index = torch.tensor([place[neuron] for neuron in new])
    for path in row.input_paths(layer, "ffn"):
        _replace(small, model, row, path, rows=index)
    _replace(small, model, row, row.output_path(layer, "ffn"), columns=index)


def _replace(
    small: PreTrainedModel,
    model: PreTrainedModel,
    row: Anatomy,
    path: str,
    *,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
) -> None:
    """Put the whole projection of `model` where `small` has a part of it."""
    whole = model.get_submodule(path)
    weight = whole.get_parameter("weight").detach()
    # one order for both classes, made once
    weight = weight if row.weight == "linear" else weight.T.contiguous()
    bias: Tensor | None = getattr(whole, "bias", None)
    index = [one if one is None else one.to(weight.device) for one in (rows, columns)]
    part = SkippingProjection(weight, None if bias is None else bias.detach(), *index)
    around, _, name = path.rpartition(".")
    setattr(small.get_submodule(around), name, part)


@torch.no_grad()
def check_equal(models: Sequence[PreTrainedModel], names: Sequence[str]) -> list[float]:
    """Refuse models whose outputs are not those of the first.

    Args:
        models: On one device; the first is the reference.
        names: In words.

    Returns:
        Each other's largest difference of a logit, by the largest logit or 1.

    Raises:
        CheckFailedError: if one differs by more than rounding.
    """
    inputs = probe_inputs(models[0])
    visible = inputs["attention_mask"].bool()
    outputs = []
    for model in models:
        with evaluating(model):
            outputs.append(model(**inputs).logits[visible].double())
    scale = max(1.0, float(outputs[0].abs().max()))
    found = [float((one - outputs[0]).abs().max()) / scale for one in outputs[1:]]
    for name, difference in zip(names[1:], found, strict=True):
        if not difference <= TOLERANCE:
            raise CheckFailedError(
                f"'{name}' differs from '{names[0]}' by {difference:.1e} of the largest logit, "
                f"more than {TOLERANCE:g}",
                "Nothing was timed: what is compared has to compute the same.",
            )
    return found
