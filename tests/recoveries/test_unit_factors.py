"""Which entries of which parameters belong to a unit: exactly those that its removal takes away."""

import pytest
import torch

from sentinel_research.models.layout import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import make_plan, mask, remove
from sentinel_research.recoveries.unit_factors import held, unit_factors


@pytest.mark.parametrize("family", FAMILIES)
def test_held_entries_are_those_that_removal_takes_away(family: str) -> None:
    model = tiny_model(family, seed=3)
    structure = structure_of(model.config)
    # whole groups, so that shared keys and values go too
    size = structure.group_size
    plan = make_plan(
        structure,
        [tuple(range(size, structure.num_heads)), *[layer.heads for layer in structure.layers[1:]]],
        neurons=[layer.neurons[3:] for layer in structure.layers],
    )
    removed = model.num_parameters() - remove(model, plan).num_parameters()
    factors = held(mask(model, plan), plan)
    parameters = dict(model.named_parameters())
    zeros = sum(
        int((factor.expand_as(parameters[name]) == 0).sum()) for name, factor in factors.items()
    )
    assert zeros == removed > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_of_a_masked_unit_is_zero_exactly_where_its_factor_is(family: str) -> None:
    """One head is masked: what has no gradient any more is what the factors hold."""
    model = tiny_model(family, seed=4)
    structure = structure_of(model.config)
    head = structure.num_heads - 1
    kept = [tuple(h for h in layer.heads if h != head) for layer in structure.layers]
    plan = make_plan(structure, kept, neurons=[layer.neurons for layer in structure.layers])
    masked = mask(model, plan)
    ids = torch.randint(200, (2, 9), generator=torch.Generator().manual_seed(0))
    masked(input_ids=ids, labels=ids).loss.backward()
    for name, factor in held(masked, plan).items():
        gradient = masked.get_parameter(name).grad
        assert gradient is not None
        still = factor.expand_as(gradient) == 0
        assert not gradient[still].any(), name
        # a softmax does not feel a bias of all its keys
        if "bias" not in name:
            assert gradient[~still].bool().float().mean() > 0.99, name


def test_shared_keys_and_values_follow_the_most_active_head_of_their_group() -> None:
    model = tiny_model("llama", seed=1)
    structure = structure_of(model.config)
    values = [torch.zeros(structure.num_heads) for _ in structure.layers]
    values[0][structure.group_size] = 0.25
    factors = unit_factors(model, {"head": values})
    rows = factors["model.layers.0.self_attn.k_proj.weight"].flatten()
    expected = torch.zeros(structure.num_kv_heads, structure.head_dim)
    expected[1] = 0.25
    assert torch.equal(rows, expected.flatten())


def test_removed_model_holds_nothing() -> None:
    model = tiny_model("gpt2")
    structure = structure_of(model.config)
    kept = [layer.heads[1:] for layer in structure.layers]
    plan = make_plan(structure, kept, neurons=[layer.neurons for layer in structure.layers])
    assert held(remove(model, plan), plan) == {}
