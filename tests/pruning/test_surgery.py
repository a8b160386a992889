"""Removal: what carries over, what the smaller model looks like, and the self-check."""

import copy
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.attention import EmptyAttention, KeptSlopesAttention, NoNeurons
from sentinel_research.models.pruned import PRUNED_CLASSES
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import PruningPlan, bake, make_plan, mask, remove, surgery
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.structure import Structure

FORMS = pytest.mark.parametrize("form", [mask, remove, bake], ids=["mask", "remove", "bake"])
PATTERNS: dict[str, Callable[[int], list[object]]] = {
    "one": lambda n: [range(1, n), range(n), range(n)],
    "half": lambda n: [range(0, n, 2)] * 3,
    "ragged": lambda n: [range(n), [0, 1, n - 1], [1, 2, 3]],
    "single": lambda n: [[n - 1], [0], [1]],
    "layer0_empty": lambda n: [[], range(n), [0]],
    "layer1_empty": lambda n: [range(n), [], [0, 1]],
    "all_empty": lambda n: [[], [], []],
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def _plan(
    model: PreTrainedModel, heads: str = "ragged", neurons: str = "half", **more: object
) -> PruningPlan:
    structure = structure_of(model.config)
    return make_plan(
        structure,
        PATTERNS[heads](structure.num_heads),
        neurons=PATTERNS[neurons](structure.intermediate_size),
        **more,
    )


@pytest.mark.parametrize("pattern", PATTERNS)
@torch.no_grad()
def test_every_pattern_of_heads_and_neurons_is_removed_as_it_is_masked(
    model: PreTrainedModel, pattern: str
) -> None:
    # emptied in both halves would be everything
    other = "half" if pattern == "all_empty" else pattern
    for plan in (_plan(model, pattern, other), _plan(model, other, pattern)):
        pruned, masked = remove(model, plan), mask(model, plan)
        ids = torch.randint(256, (2, 8), generator=torch.Generator().manual_seed(3))
        padded = torch.tensor([[1] * 8, [0] * 3 + [1] * 5])
        for given in (torch.ones_like(padded), padded):
            a, b = (m(ids, attention_mask=given).logits[given.bool()] for m in (pruned, masked))
            # removal sums fewer terms than the mask, in float32
            assert float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


@FORMS
def test_original_model_is_untouched(model: PreTrainedModel, form: Callable[..., object]) -> None:
    twin = copy.deepcopy(model)
    changed = form(model, _plan(model))
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.zero_()
    inputs = probe_inputs(model)
    assert torch.equal(model(**inputs).logits, twin(**inputs).logits)
    assert type(model) is type(twin)
    assert model.config.to_dict() == twin.config.to_dict()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_removal_keeps_the_type(model: PreTrainedModel, dtype: torch.dtype) -> None:
    model.to(dtype)
    buffers = {name: buffer.dtype for name, buffer in model.named_buffers()}
    pruned = remove(model, _plan(model, "layer1_empty"))
    assert {p.dtype for p in pruned.parameters()} == {dtype}
    assert all(b.dtype == buffers[name] for name, b in pruned.named_buffers())


@pytest.mark.parametrize("tied", [True, False])
def test_removal_keeps_embeddings_tied_or_untied(tied: bool) -> None:
    for family in FAMILIES:
        model = tiny_model(family, tie_word_embeddings=tied)
        pruned = remove(model, _plan(model))
        same = pruned.get_input_embeddings().weight is pruned.get_output_embeddings().weight
        assert same == tied, family


def test_removal_keeps_training_flags_and_frozen_parameters(model: PreTrainedModel) -> None:
    model.train()
    model.get_input_embeddings().weight.requires_grad_(False)
    pruned = remove(model, _plan(model))
    assert all(module.training for module in pruned.modules())
    assert not pruned.get_input_embeddings().weight.requires_grad
    assert sum(not p.requires_grad for p in pruned.parameters()) == 1
    assert all(module.training for module in model.modules())


def test_removal_keeps_generation_settings_and_attention(model: PreTrainedModel) -> None:
    model.generation_config.max_new_tokens = 3
    model.set_attn_implementation("eager")
    pruned = remove(model, _plan(model, "half", "half"))
    assert pruned.generation_config.max_new_tokens == 3
    assert pruned.config._attn_implementation == "eager"
    model.generation_config.max_new_tokens = 5
    assert pruned.generation_config.max_new_tokens == 3


@FORMS
def test_pruning_draws_no_random_numbers(
    model: PreTrainedModel, form: Callable[..., object]
) -> None:
    before = torch.random.get_rng_state()
    form(model, _plan(model))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_removed_model_is_of_the_pruned_class_and_shares_no_memory(model: PreTrainedModel) -> None:
    pruned = remove(model, _plan(model))
    assert type(pruned) is PRUNED_CLASSES[model.config.model_type][1]
    mine = {p.data_ptr() for p in model.parameters()}
    assert mine.isdisjoint(p.data_ptr() for p in pruned.parameters())
    # what was given stays in the configuration with its meaning
    assert pruned.config.num_attention_heads == model.config.num_attention_heads
    assert pruned.config.num_hidden_layers == model.config.num_hidden_layers


def test_equal_groups_stay_plain_grouped_query_attention() -> None:
    for family in ("llama", "mistral", "qwen2"):
        model = tiny_model(family)
        plan = make_plan(structure_of(model.config), [[0, 2], [4, 5, 6, 7], [1]])
        pruned = remove(model, plan)
        assert pruned.config._attn_implementation == "sdpa"
        groups = [a.num_key_value_groups for a in anatomy_of(model.config).attentions(pruned)]
        assert groups == [1, 2, 1]
        assert remove(model, _plan(model)).config._attn_implementation == "ragged_sdpa"
        model.set_attn_implementation("eager")
        assert remove(model, _plan(model)).config._attn_implementation == "ragged_eager"


def test_implementation_that_cannot_do_unequal_groups_is_refused() -> None:
    model = tiny_model("llama")
    pruned = remove(model, _plan(model))
    with pytest.raises(UsageError, match="unequal groups"):
        pruned.set_attn_implementation("flex_attention")


def test_heads_of_bloom_keep_the_slopes_of_their_original_indices() -> None:
    model = tiny_model("bloom")
    pruned = remove(model, _plan(model, "half"))
    again = remove(pruned, make_plan(structure_of(pruned.config), [[2], [0, 4], [4]]))
    attentions = anatomy_of(model.config).attentions(again)
    assert all(type(attention) is KeptSlopesAttention for attention in attentions)
    assert [attention.kept_heads for attention in attentions] == [(2,), (0, 4), (4,)]


def test_emptied_blocks_keep_only_their_output_bias(model: PreTrainedModel) -> None:
    row, structure = anatomy_of(model.config), structure_of(model.config)
    plan = make_plan(structure, [[], [0], [0]], neurons=[[0], [], [0]])
    pruned = remove(model, plan)
    attention = row.attentions(pruned)[0]
    assert type(attention) is EmptyAttention
    has_bias = structure.attention_output_bias
    assert [n for n, _ in attention.named_parameters()] == [f"{row.output}.bias"] * has_bias
    for path in row.input_paths(1, "ffn"):
        assert type(pruned.get_submodule(path)) is NoNeurons
    output = row.outputs(pruned, "ffn")[1]
    assert [name for name, _ in output.named_parameters()] == ["bias"] * structure.ffn_output_bias


def test_block_that_goes_takes_its_norm_along_unless_the_residual_runs_through_it() -> None:
    stays = {
        "opt": {"do_layer_norm_before": False},
        "bloom": {"apply_residual_connection_post_layernorm": True},
    }
    for family in FAMILIES:
        for config in ({}, stays.get(family)):
            if config is None:
                continue
            model = tiny_model(family, **config)
            row = anatomy_of(model.config)
            plan = _plan(model, "half", "half", without={"attention": [0], "ffn": [1]})
            pruned = remove(model, plan)
            for layer, block in ((0, "attention"), (1, "ffn")):
                norm = pruned.get_submodule(row.norm_path(layer, block))
                assert bool(list(norm.parameters())) == bool(config), (family, block)
                other = "ffn" if block == "attention" else "attention"
                assert list(pruned.get_submodule(row.norm_path(layer, other)).parameters())


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_emptied_layer_keeps_the_dropout_of_the_bias(family: str) -> None:
    row = anatomy_of(tiny_model(family).config)
    model = tiny_model(family, **{row.dropout_key: 0.5})
    attention = row.attentions(remove(model, _plan(model, "layer0_empty")))[0].train()
    hidden = torch.zeros(1, 50, 30)
    torch.manual_seed(0)
    dropped = attention(hidden)[0]
    assert 0.3 < float((dropped == 0).float().mean()) < 0.7
    bias = attention.get_submodule(row.output).bias
    assert torch.equal(attention.eval()(hidden)[0], bias.expand(1, 50, 30))
    # BLOOM's attention adds the residual stream itself
    residual = torch.ones(1, 50, 30)
    assert torch.equal(attention(hidden, residual=residual)[0], bias + residual)


@FORMS
def test_plan_for_another_model_is_refused_by_every_form(form: Callable[..., object]) -> None:
    plan = _plan(tiny_model("gpt2"))
    with pytest.raises(UsageError, match="does not fit a llama model"):
        form(tiny_model("llama"), plan)


@pytest.mark.parametrize("change", ["rows", "columns", "neurons"])
def test_self_check_refuses_wrong_surgery(
    model: PreTrainedModel, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "neurons":
        # rows in another order than columns
        def select(
            state: dict[str, torch.Tensor], key: str, axis: int, index: torch.Tensor
        ) -> None:
            order = index.flip(0) if key.endswith(("fc.weight", "fc2.weight", "fc1.weight",
                "h_to_4h.weight", "up_proj.weight")) else index  # fmt: skip
            state[key] = state[key].index_select(axis, order)

        monkeypatch.setattr(surgery, "_select", select)
    else:
        name = "projection_rows" if change == "rows" else "head_columns"
        real = getattr(surgery, name)
        monkeypatch.setattr(surgery, name, lambda *args: real(*args).flip(0))
    with pytest.raises(CheckpointError, match="differs from the masked one"):
        remove(model, _plan(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_self_check_of_half_precision_is_as_strict_as_of_float32(
    model: PreTrainedModel, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong neuron of 37 moves a logit by less than bfloat16 rounds it."""
    structure = structure_of(model.config)
    everything = range(structure.intermediate_size)
    plan = make_plan(structure, neurons=[everything, everything, everything[1:]])
    before = {name: tensor.clone() for name, tensor in model.to(dtype).state_dict().items()}
    remove(model, plan)
    real = surgery._slice_ffn

    def shifted(state: dict, row: object, old: Structure, new: Structure, layer: int) -> None:
        layers = [
            *new.layers[:-1],
            new.layers[-1].model_copy(update={"neurons": tuple(everything[:-1])}),
        ]
        real(state, row, old, new.model_copy(update={"layers": tuple(layers)}), layer)

    monkeypatch.setattr(surgery, "_slice_ffn", shifted)
    with pytest.raises(CheckpointError, match="differs from the masked one"):
        remove(model, plan)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {tensor.dtype for tensor in after.values() if tensor.is_floating_point()} == {dtype}


def test_pruned_model_trains(model: PreTrainedModel) -> None:
    pruned = remove(model, _plan(model, "layer0_empty", without={"ffn": [1]})).train()
    # some families have dropout
    torch.manual_seed(0)
    optimiser = torch.optim.SGD(pruned.parameters(), lr=1e-2)
    ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(15):
        loss = pruned(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@torch.no_grad()
def test_wide_model_differs_from_its_masked_twin_by_rounding_only() -> None:
    """Below a width of about 500 one accumulator sums a row, and zeros change no bit at all."""
    model = tiny_model("gpt2", n_head=12, n_embd=768, n_layer=2, n_inner=64)
    plan = make_plan(structure_of(model.config), [[0, 3, 5, 7, 8, 11], [1, 2]])
    ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    # float32 has 24 bits, float64 53: the difference must shrink with the type, a bug would not
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
        model.to(dtype)
        masked, removed = (form(model, plan)(ids).logits for form in (mask, remove))
        assert float((masked - removed).abs().max()) <= tolerance * float(masked.abs().max())
