"""Zeros in the stock model: which weights go, how they are recognised, and what is refused."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.layout import projection_rows
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import bake, baked_plan, make_plan, remove, shrink_baked
from sentinel_research.pruning.surgery import probe_inputs

GROUPED = ("llama", "mistral", "qwen2")


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def _heads(model: PreTrainedModel, layer: int, part: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of query, key or value as [heads, D, E] and [heads, D], written down anew."""
    family, structure = model.config.model_type, structure_of(model.config)
    module = anatomy_of(model.config).attentions(model)[layer]
    width = structure.head_dim
    if family == "gpt2":
        weight = module.c_attn.weight.T.chunk(3)[part]
        bias = module.c_attn.bias.chunk(3)[part]
    elif family in ("bloom", "gpt_neox"):
        weight = module.query_key_value.weight.unflatten(0, (-1, 3, width))[:, part].flatten(0, 1)
        bias = module.query_key_value.bias.unflatten(0, (-1, 3, width))[:, part].flatten()
    else:
        projection = (module.q_proj, module.k_proj, module.v_proj)[part]
        weight, bias = projection.weight, projection.bias
    parts = weight.detach().unflatten(0, (-1, width))
    return parts, None if bias is None else bias.detach().unflatten(0, (-1, width))


def _columns(model: PreTrainedModel, layer: int) -> Tensor:
    """Output weights of attention as [heads, D, E]."""
    row, width = anatomy_of(model.config), structure_of(model.config).head_dim
    weight = row.outputs(model, "attention")[layer].weight.detach()
    return (weight if row.weight == "conv1d" else weight.T).unflatten(0, (-1, width))


def test_values_and_output_columns_of_a_dead_group_are_zero_and_nothing_else_is(
    model: PreTrainedModel,
) -> None:
    structure = structure_of(model.config)
    size = structure.group_size
    kept = [head for head in range(structure.num_heads) if head // size != 1]
    baked = bake(model, make_plan(structure, [kept, range(structure.num_heads), kept]))
    for layer in range(3):
        dead = {1} if layer != 1 else set()
        for part in range(3):
            for before, after in zip(
                _heads(model, layer, part), _heads(baked, layer, part), strict=True
            ):
                for group in range(structure.num_kv_heads) if before is not None else ():
                    if part == 2 and group in dead:
                        assert not after[group].any()
                    elif part == 2:
                        assert torch.equal(after[group], before[group])
                if before is not None and part < 2:
                    assert torch.equal(after, before)
        before, after = _columns(model, layer), _columns(baked, layer)
        for head in range(structure.num_heads):
            if head // size in dead:
                assert not after[head].any()
            else:
                assert torch.equal(after[head], before[head])


@pytest.mark.parametrize("family", GROUPED)
def test_head_of_a_living_group_loses_only_its_output_columns(family: str) -> None:
    model = tiny_model(family)
    baked = bake(model, make_plan(structure_of(model.config), [range(1, 8)] * 3))
    changed = {
        name
        for name, value in baked.state_dict().items()
        if not torch.equal(value, model.state_dict()[name])
    }
    assert changed == {f"model.layers.{layer}.self_attn.o_proj.weight" for layer in range(3)}
    assert not _columns(baked, 0)[0].any()
    assert torch.equal(_columns(baked, 0)[1:], _columns(model, 0)[1:])


@pytest.mark.parametrize("family", GROUPED)
def test_head_of_a_living_group_wakes_up_under_training(family: str) -> None:
    """Its values belong to the other heads of its group, so its output weights have a gradient."""
    model = tiny_model(family)
    plan = make_plan(structure_of(model.config), [range(1, 8)] * 3)
    baked = bake(model, plan)
    assert baked_plan(baked).removed == {"head": ["L0H0", "L1H0", "L2H0"]}
    optimiser = torch.optim.SGD(baked.parameters(), lr=1e-2)
    ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    baked(ids, labels=ids).loss.backward()
    optimiser.step()
    assert baked_plan(baked).is_identity


def test_neurons_lose_rows_biases_and_columns(model: PreTrainedModel) -> None:
    row, structure = anatomy_of(model.config), structure_of(model.config)
    gone = [0, 3, structure.intermediate_size - 1]
    kept = [n for n in range(structure.intermediate_size) if n not in gone]
    everything = range(structure.intermediate_size)
    baked = bake(model, make_plan(structure, neurons=[everything, kept, everything]))
    for path in row.input_paths(1, "ffn"):
        before, after = (m.get_submodule(path) for m in (model, baked))
        left, right = (m.weight if row.weight == "linear" else m.weight.T for m in (before, after))
        assert not right[gone].any()
        assert torch.equal(right[kept], left[kept])
        if before.bias is not None:
            assert not after.bias[gone].any()
            assert torch.equal(after.bias[kept], before.bias[kept])
    output = row.output_path(1, "ffn")
    before, after = (m.get_submodule(output) for m in (model, baked))
    left, right = (m.weight.T if row.weight == "linear" else m.weight for m in (before, after))
    assert not right[gone].any()
    assert torch.equal(right[kept], left[kept])
    assert before.bias is None or torch.equal(after.bias, before.bias)


def test_block_that_goes_loses_its_output_bias_and_one_that_is_emptied_keeps_it(
    model: PreTrainedModel,
) -> None:
    row, structure = anatomy_of(model.config), structure_of(model.config)
    some = range(0, structure.num_heads, 2)
    emptied = bake(model, make_plan(structure, [[], some, some]))
    gone = bake(model, make_plan(structure, [some] * 3, without={"attention": [0]}))
    for baked, zero in ((emptied, False), (gone, True)):
        output = row.outputs(baked, "attention")[0]
        assert not output.weight.any()
        if output.bias is not None:
            assert bool(output.bias.any()) != zero
    # a block without heads keeps its bias, so only its heads are recognised
    assert baked_plan(gone).kept[0].heads == ()
    assert baked_plan(gone).kept[0].has_attention


def test_baked_model_is_stock_in_class_configuration_and_size(model: PreTrainedModel) -> None:
    baked = bake(model, make_plan(structure_of(model.config), [[0], [1], []]))
    assert type(baked) is type(model)
    assert baked.config.to_dict() == model.config.to_dict()
    assert baked.num_parameters() == model.num_parameters()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in baked.modules())


def test_model_without_zeros_is_recognised_as_whole_and_not_copied(model: PreTrainedModel) -> None:
    assert baked_plan(model).is_identity
    assert shrink_baked(model) is model


def test_shrinking_is_what_removal_would_have_done(model: PreTrainedModel) -> None:
    structure = structure_of(model.config)
    plan = make_plan(structure, [[0, 1, 2], [], [3]], neurons=[[5], [1, 2], []])
    shrunk, removed = shrink_baked(bake(model, plan)), remove(model, plan)
    assert structure_of(shrunk.config) == plan.after
    assert shrunk.config.pruning["scorer"] == "baked"
    mine, theirs = shrunk.state_dict(), removed.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@torch.no_grad()
def test_zeros_that_training_made_in_a_pruned_model_are_recognised_too(
    model: PreTrainedModel,
) -> None:
    structure = structure_of(model.config)
    pruned = remove(model, make_plan(structure, [[0, 2, 3], [1], [0]], neurons=[[1, 5, 7]] * 3))
    row, inputs = anatomy_of(model.config), probe_inputs(model)
    now, grouped = structure_of(pruned.config), structure.num_kv_heads < structure.num_heads
    for block, width, local in (("attention", structure.head_dim, 1), ("ffn", 1, 2)):
        weight = row.outputs(pruned, block)[0].weight
        weight.index_fill_(row.output_axis, torch.arange(width) + local * width, 0.0)
    dead = [(path, torch.tensor([2])) for path in row.input_paths(0, "ffn")]
    # heads 2 and 3 share their values where heads are grouped
    dead += [
        (path, projection_rows(now, 0, projection, [1], [] if grouped else [1]))
        for projection, path in zip(row.inputs, row.input_paths(0, "attention"), strict=True)
    ]
    for path, rows in dead:
        module = pruned.get_submodule(path)
        module.weight.index_fill_(row.input_axis, rows, 0.0)
        if module.bias is not None:
            module.bias.index_fill_(0, rows, 0.0)
    plan = baked_plan(pruned)
    assert plan.removed == {"head": ["L0H2"], "neuron": ["L0N7"]}
    shrunk = shrink_baked(pruned)
    assert structure_of(shrunk.config).layers[0].heads == (0, 3)
    before, after = (m(**inputs).logits[0] for m in (pruned, shrunk))
    # one term less in a float32 sum
    assert float((before - after).abs().max()) <= 1e-5 * float(before.abs().max())


@torch.no_grad()
def test_unit_with_a_single_weight_left_is_alive(model: PreTrainedModel) -> None:
    row, structure = anatomy_of(model.config), structure_of(model.config)
    baked = bake(model, make_plan(structure, [range(1, structure.num_heads)] * 3))
    weight = row.outputs(baked, "attention")[2].weight
    corner = (structure.hidden_size - 1, structure.head_dim - 1)
    weight[corner if row.weight == "linear" else corner[::-1]] = 1e-30
    assert baked_plan(baked).removed == {"head": ["L0H0", "L1H0"]}


def test_pruned_model_cannot_be_baked(model: PreTrainedModel) -> None:
    plan = make_plan(structure_of(model.config), [[0], [1], [2]])
    pruned = remove(model, plan)
    with pytest.raises(UsageError, match="already smaller than its stock architecture") as caught:
        bake(pruned, plan)
    assert "dense model" in caught.value.hint


def test_model_with_added_output_biases_cannot_be_baked() -> None:
    model = tiny_model("llama")
    identity = make_plan(structure_of(model.config))
    with pytest.raises(UsageError, match="cannot be baked"):
        bake(remove(model, identity, output_biases=True), identity)


@torch.no_grad()
def test_zeros_of_an_initialisation_are_no_baked_units(model: PreTrainedModel) -> None:
    """Output projections that start at zero learn: nothing in front of them is zero."""
    for block in ("attention", "ffn"):
        for output in anatomy_of(model.config).outputs(model, block):
            output.weight.zero_()
    assert baked_plan(model).is_identity


@torch.no_grad()
def test_model_of_nothing_but_zeros_has_no_smaller_form(model: PreTrainedModel) -> None:
    for parameter in model.parameters():
        parameter.zero_()
    assert baked_plan(model).is_identity


def test_plan_for_a_pruned_model_bakes_into_the_dense_one() -> None:
    for family in FAMILIES:
        model = tiny_model(family)
        once = remove(model, make_plan(structure_of(model.config), [[1, 2, 3]] * 3))
        plan = make_plan(structure_of(once.config), [[2], [1, 3], [3]])
        assert baked_plan(bake(model, plan)).kept == plan.kept
