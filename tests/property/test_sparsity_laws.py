"""Laws of single weights: masks as data, exact numbers of zeros, and zeros that last."""

import copy
import json
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.layout import projection_paths
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import mask, plan_units, prune, remove
from sentinel_research.pruning.select import num_units
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.specs import PruneSpec
from tests.property.conftest import assert_close, every_family, inputs_for, logits_of, models, share

# widths that divide by four, as 2:4 needs
_EVEN = {
    "gpt2": {"n_head": 3, "n_embd": 24, "n_inner": 20},
    "opt": {"num_attention_heads": 3, "hidden_size": 24, "ffn_dim": 20},
    "bloom": {"n_head": 3, "hidden_size": 24},
    "gpt_neox": {"num_attention_heads": 3, "hidden_size": 24, "intermediate_size": 20},
    "llama": {"intermediate_size": 20},
    "mistral": {"intermediate_size": 20},
    "qwen2": {"intermediate_size": 20},
}
keeps = strategies.tuples(
    strategies.integers(1, 9), strategies.integers(1, 19), strategies.integers(0, 99)
).map(lambda drawn: np.random.default_rng(drawn[2]).random(drawn[:2]) < 0.5)


@given(keep=keeps)
def test_weight_mask_gives_back_what_it_was_made_of(keep: np.ndarray) -> None:
    packed = WeightMask.of(keep)
    assert np.array_equal(packed.keep(), keep)
    assert packed.keep().dtype == np.bool_
    assert packed.shape == keep.shape
    assert packed.num_zero == int((~keep).sum())
    assert WeightMask.model_validate_json(packed.model_dump_json()) == packed
    assert WeightMask.of(packed.keep()) == packed
    # in Fortran order the same mask is the same bits
    assert WeightMask.of(np.asfortranarray(keep)) == packed
    assert json.dumps(packed.summary())


@given(keep=keeps, data=strategies.data())
def test_masks_that_differ_in_one_weight_differ_in_digest_and_count(
    keep: np.ndarray, data: strategies.DataObject
) -> None:
    other = keep.copy()
    row = data.draw(strategies.integers(0, keep.shape[0] - 1))
    column = data.draw(strategies.integers(0, keep.shape[1] - 1))
    other[row, column] ^= True
    one, two = WeightMask.of(keep), WeightMask.of(other)
    assert abs(one.num_zero - two.num_zero) == 1
    assert one.summary()["sha256"] != two.summary()["sha256"]


def _zeros(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Where every projection is exactly zero, outputs along the rows."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    found = {}
    for layer in range(structure.num_layers):
        for path in projection_paths(row, structure, layer):
            weight = model.get_submodule(path).weight.detach()
            found[path] = (weight if row.weight == "linear" else weight.T) == 0
    return found


@every_family
@share(0.4)
@given(data=strategies.data())
def test_every_row_or_matrix_loses_exactly_its_share_of_weights(
    family: str, data: strategies.DataObject
) -> None:
    model, inputs = data.draw(models(family)), data.draw(inputs_for())
    fraction = data.draw(strategies.integers(0, 99)) / 100
    scope = data.draw(strategies.sampled_from(["local", "global"]))
    scorer = data.draw(strategies.sampled_from(["magnitude_l1", "random"]))
    spec = PruneSpec(scorer=scorer, fraction=fraction, granularity="weight", scope=scope)
    pruned, report = prune(model, spec)
    total = 0
    for zeros in _zeros(pruned).values():
        if scope == "local":
            assert set(zeros.sum(dim=1).tolist()) == {num_units(fraction, zeros.shape[1])}
        else:
            assert int(zeros.sum()) == num_units(fraction, zeros.numel())
        total += int(zeros.sum())
    assert report.num_removed.get("weight", 0) == total
    # zeros are still parameters
    assert pruned.num_parameters() == model.num_parameters()
    assert report.plan.parameters_removed == 0
    assert_close(logits_of(mask(model, report.plan), inputs), logits_of(pruned, inputs), 0)


@every_family
@share(0.2)
@given(data=strategies.data())
def test_two_of_every_four_weights_go_and_stay_gone_in_a_folder(
    family: str, data: strategies.DataObject
) -> None:
    model = tiny_model(family, **_EVEN[family])
    inputs = data.draw(inputs_for())
    seed = data.draw(strategies.integers(0, 9))
    spec = PruneSpec(scorer="random", fraction=0.5, granularity="2:4", seed=seed)
    pruned, _ = prune(model, spec)
    with tempfile.TemporaryDirectory() as folder:
        pruned.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder)
    for zeros in _zeros(loaded).values():
        assert bool((zeros.unflatten(1, (-1, 4)).sum(dim=2) == 2).all())
    assert torch.equal(logits_of(copy.deepcopy(loaded), inputs), logits_of(pruned, inputs))


@every_family
@share(0.4)
@given(data=strategies.data())
def test_a_larger_share_of_weights_contains_a_smaller_one(
    family: str, data: strategies.DataObject
) -> None:
    model = data.draw(models(family))
    scope = data.draw(strategies.sampled_from(["local", "global"]))
    low, high = sorted(data.draw(strategies.integers(0, 99)) / 100 for _ in range(2))
    few, many = (
        plan_units(
            model,
            PruneSpec(scorer="magnitude_l1", fraction=share, granularity="weight", scope=scope),
        ).plan.weights
        for share in (low, high)
    )
    assert few.keys() == many.keys()
    assert all(bool((few[name].keep() | ~many[name].keep()).all()) for name in few)


@every_family
@share(0.3)
@given(data=strategies.data())
def test_zeros_are_named_by_the_matrices_of_the_model_that_the_plan_was_made_for(
    family: str, data: strategies.DataObject
) -> None:
    model = data.draw(models(family))
    structure = structure_of(model.config)
    spec = PruneSpec(scorer="magnitude_l1", fraction=0.3, granularity="neuron", min_per_layer=1)
    small, _ = prune(model, spec)
    sparse = PruneSpec(scorer="magnitude_l1", fraction=0.5, granularity="weight")
    plan = plan_units(small, sparse).plan
    zeros = _zeros(remove(small, plan))
    assert all(set(z.sum(dim=1).tolist()) == {z.shape[1] // 2} for z in zeros.values())
    assert plan.before == structure_of(small.config) != structure
    with pytest.raises(UsageError, match="single weights of a model with other heads or neurons"):
        mask(model, plan)
