"""Laws of symmetry: heads and neurons carry no order, except for the slopes of ALiBi."""

import pytest
import torch
from hypothesis import assume, given, strategies
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.attention import KeptSlopesAttention
from sentinel_research.models.layout import head_columns, projection_rows
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning import score_units
from sentinel_research.specs import PruneSpec
from tests.property.conftest import assert_close, every_family, inputs_for, logits_of, models

State = dict[str, Tensor]


def _gather(state: State, key: str, axis: int, index: Tensor) -> None:
    if key in state:
        state[key] = state[key].index_select(axis, index)


def _permuted(
    model: PreTrainedModel, queries: list[int], groups: list[int], neurons: list[int]
) -> PreTrainedModel:
    """The same model with heads, KV groups and neurons of every layer in another order."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    order = torch.tensor(neurons)
    for layer in range(structure.num_layers):
        for projection, path in zip(row.inputs, row.input_paths(layer, "attention"), strict=True):
            rows = projection_rows(structure, layer, projection, queries, groups)
            _gather(state, f"{path}.weight", row.input_axis, rows)
            _gather(state, f"{path}.bias", 0, rows)
        columns = head_columns(structure, queries)
        _gather(state, f"{row.output_path(layer, 'attention')}.weight", row.output_axis, columns)
        for path in row.input_paths(layer, "ffn"):
            _gather(state, f"{path}.weight", row.input_axis, order)
            _gather(state, f"{path}.bias", 0, order)
        _gather(state, f"{row.output_path(layer, 'ffn')}.weight", row.output_axis, order)
    permuted = type(model)(model.config).eval()
    permuted.load_state_dict(state)
    return permuted


def _orders(data: strategies.DataObject, model: PreTrainedModel) -> tuple[list[int], ...]:
    """Query heads, KV groups and neurons; query heads stay with their group."""
    structure = structure_of(model.config)
    groups = data.draw(strategies.permutations(range(structure.num_kv_heads)))
    inside = data.draw(strategies.permutations(range(structure.group_size)))
    queries = [group * structure.group_size + member for group in groups for member in inside]
    neurons = torch.randperm(
        structure.intermediate_size,
        generator=torch.Generator().manual_seed(data.draw(strategies.integers(0, 99))),
    )
    return queries, list(groups), neurons.tolist()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "bloom"])
@given(data=strategies.data())
def test_order_of_heads_groups_and_neurons_does_not_change_the_logits(
    family: str, data: strategies.DataObject
) -> None:
    model, inputs = data.draw(models(family)), data.draw(inputs_for())
    permuted = _permuted(model, *_orders(data, model))
    assert_close(logits_of(permuted, inputs), logits_of(model, inputs))


@given(data=strategies.data())
def test_order_of_heads_with_slopes_does_not_change_the_logits_if_the_slopes_travel(
    data: strategies.DataObject,
) -> None:
    model, inputs = data.draw(models("bloom")), data.draw(inputs_for())
    queries, groups, neurons = _orders(data, model)
    assume(queries != sorted(queries))
    permuted = _permuted(model, queries, groups, neurons)
    dense = logits_of(model, inputs)
    if inputs["input_ids"].shape[1] > 2:
        moved = float((logits_of(permuted, inputs) - dense).abs().max())
        assert moved > 1e-3 * float(dense.abs().max())
    row = anatomy_of(model.config)
    for layer, old in enumerate(row.attentions(permuted)):
        travelling = KeptSlopesAttention(model.config, layer, tuple(queries)).eval()
        travelling.load_state_dict(old.state_dict())
        permuted.set_submodule(row.attention_path(layer), travelling)
    assert_close(logits_of(permuted, inputs), dense)


@every_family
@given(data=strategies.data())
def test_sizes_of_heads_and_neurons_travel_with_them(
    family: str, data: strategies.DataObject
) -> None:
    model = data.draw(models(family))
    queries, groups, neurons = _orders(data, model)
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity=("head", "neuron"))
    before = score_units(model, spec).values
    after = score_units(_permuted(model, queries, groups, neurons), spec).values
    for kind, order in (("head", queries), ("neuron", neurons)):
        for old, new in zip(before[kind], after[kind], strict=True):
            # float64 sums of the same squares in another order
            assert new == pytest.approx([old[unit] for unit in order], rel=1e-12)
