"""Laws of the plans that scorers make: nesting, and what they depend on."""

import pytest
from hypothesis import given, strategies

from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import plan_units
from sentinel_research.specs import PruneSpec
from tests.property.conftest import FRACTIONS, SCOPES, models


@pytest.mark.parametrize(
    "granularity",
    ["head", "kv_group", "neuron", "layer", ("neuron", "ffn")],
    ids=["head", "kv_group", "neuron", "layer", "neuron_and_ffn"],
)
@given(data=strategies.data(), low=FRACTIONS, high=FRACTIONS, scope=SCOPES)
def test_plans_of_a_scorer_nest(
    granularity: object, data: strategies.DataObject, low: float, high: float, scope: str
) -> None:
    model = data.draw(models(data.draw(strategies.sampled_from(FAMILIES))))
    mixed = {"scope": "global", "budget": "parameters"} if isinstance(granularity, tuple) else {}
    spec = PruneSpec(
        scorer="magnitude_l2",
        fraction=0,
        granularity=granularity,
        **{"scope": scope, **mixed},
    )
    few, many = (
        # all layers at once would be everything
        plan_units(model, spec.model_copy(update={"fraction": min(fraction, 0.6)})).plan
        for fraction in sorted((low, high))
    )
    for more, less in zip(few.kept, many.kept, strict=True):
        for kind in ("head", "neuron", "attention", "ffn"):
            assert set(less.units(kind)) <= set(more.units(kind))
    if granularity == "kv_group":
        full = len(many.before.layers[0].heads) // len(many.before.kv_heads(0))
        assert {size for layer in range(many.num_layers)
                for size in many.after.group_sizes(layer)} <= {full}  # fmt: skip


@given(seed=strategies.integers(0, 2**31))
def test_random_plan_depends_on_the_seed_and_on_nothing_else(seed: int) -> None:
    spec = PruneSpec(scorer="random", fraction=0.5, seed=seed, granularity=("head", "neuron"))
    plan = plan_units(tiny_model("llama", seed=0), spec).plan
    assert plan_units(tiny_model("llama", seed=1), spec).plan == plan
    other = plan_units(tiny_model("llama"), spec.model_copy(update={"seed": seed + 1})).plan
    assert other.scores != plan.scores
