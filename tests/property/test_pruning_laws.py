"""Laws of head pruning: what must hold for every model, plan and attention implementation.

The masked model is the oracle: it is ordinary transformers code with one hook. Tolerances are
relative to the largest logit: removal sums fewer terms than the mask, in another order.
"""

import copy
import functools
import tempfile
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, strategies
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, StaticCache

from sentinel_research.models import anatomy_of, heads_of
from sentinel_research.models.tiny import NUM_BYTES, tiny_model
from sentinel_research.pruning import PruningPlan, make_plan, mask, remove
from sentinel_research.pruning.surgery import slice_state_dict

pytestmark = pytest.mark.filterwarnings("ignore:.*is_compileable.*")

SHAPES: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{"n_head": 5, "n_embd": 30}, {"n_head": 3, "n_embd": 21}, {"n_head": 1, "n_embd": 7}],
    "llama": [
        {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "attention_bias": bias}
        for heads, kv_heads in ((8, 4), (4, 1), (10, 2), (5, 5))
        for bias in (False, True)
    ],
}
CASES = [(family, attention) for family in SHAPES for attention in ("sdpa", "eager")]
every_case = pytest.mark.parametrize(("family", "attention"), CASES)
TOLERANCE = 1e-5


class Case(NamedTuple):
    """A model with a plan for it and an input."""

    model: PreTrainedModel
    plan: PruningPlan
    inputs: dict[str, Tensor]


@functools.cache
def _model(family: str, shape: int, attention: str) -> PreTrainedModel:
    return tiny_model(family, attn_implementation=attention, **SHAPES[family][shape])


def _kept(num_heads: int, *, min_heads: int = 0) -> strategies.SearchStrategy[list[int]]:
    return strategies.lists(
        strategies.integers(0, num_heads - 1), unique=True, min_size=min_heads, max_size=num_heads
    )


@strategies.composite
def cases(
    draw: strategies.DrawFn, family: str, attention: str, *, first_layer_empty: bool = False
) -> Case:
    """A tiny model, any subset of heads in every layer, and two sequences, padded or not."""
    model = _model(family, draw(strategies.integers(0, len(SHAPES[family]) - 1)), attention)
    heads = heads_of(model.config)
    kept = [draw(_kept(heads.num_heads)) for _ in range(heads.num_layers)]
    if first_layer_empty:
        kept[0] = []
    length = draw(strategies.sampled_from([1, 2, 7, 8, 13]))
    generator = torch.Generator().manual_seed(draw(strategies.integers(0, 99)))
    ids = torch.randint(NUM_BYTES, (2, length), generator=generator)
    inputs = {"input_ids": ids}
    if draw(strategies.booleans()):
        inputs["attention_mask"] = torch.ones_like(ids)
        inputs["attention_mask"][1, : length // 2] = 0
    return Case(model, make_plan(heads, kept), inputs)


@torch.no_grad()
def _logits(model: PreTrainedModel, inputs: dict[str, Tensor], **more: Any) -> Tensor:
    logits = model(**inputs, **more).logits
    if "attention_mask" in inputs:
        # what a model computes at padding means nothing and is never read
        return logits[inputs["attention_mask"].bool()]
    return logits


def _assert_close(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> None:
    scale = max(1.0, float(right.abs().max()))
    assert float((left - right).abs().max()) <= tolerance * scale


@every_case
@given(data=strategies.data())
def test_masked_and_removed_heads_give_the_same_logits(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention))
    _assert_close(_logits(remove(model, plan), inputs), _logits(mask(model, plan), inputs))


@every_case
@given(data=strategies.data())
def test_mask_moves_the_logits_unless_the_plan_is_the_identity(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention))
    moved = float((_logits(mask(model, plan), inputs) - _logits(model, inputs)).abs().max())
    assert (moved > 1e-2) == (not plan.is_identity)


@every_case
@given(data=strategies.data())
def test_identity_plan_is_bit_equal(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, _, inputs = data.draw(cases(family, attention))
    heads = heads_of(model.config)
    plan = make_plan(heads, heads.kept)
    assert torch.equal(_logits(remove(model, plan), inputs), _logits(model, inputs))
    assert torch.equal(_logits(mask(model, plan), inputs), _logits(model, inputs))


@every_case
@given(data=strategies.data())
def test_parameters_fall_by_the_predicted_number(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, plan, _ = data.draw(cases(family, attention))
    pruned = remove(model, plan)
    assert model.num_parameters() - pruned.num_parameters() == plan.parameters_removed
    assert heads_of(model.config).num_parameters() - heads_of(pruned.config).num_parameters() == (
        plan.parameters_removed
    )


@every_case
@given(data=strategies.data())
def test_pruning_in_two_steps_equals_pruning_at_once(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, first, inputs = data.draw(cases(family, attention))
    once = remove(model, first)
    kept = [data.draw(strategies.lists(strategies.sampled_from(h), unique=True)) if h else []
            for h in first.kept_heads]  # fmt: skip
    second = make_plan(heads_of(once.config), kept)
    twice, direct = remove(once, second), remove(model, make_plan(heads_of(model.config), kept))
    assert heads_of(twice.config) == heads_of(direct.config)
    assert torch.equal(_logits(twice, inputs), _logits(direct, inputs))
    _assert_close(_logits(mask(once, second), inputs), _logits(twice, inputs))
    again = remove(twice, second)
    assert torch.equal(_logits(again, inputs), _logits(twice, inputs))


@every_case
@given(data=strategies.data())
def test_saved_and_reloaded_model_is_bit_equal(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention))
    pruned = remove(model, plan)
    with tempfile.TemporaryDirectory() as folder:
        pruned.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    assert type(loaded) is type(pruned)
    assert torch.equal(_logits(loaded, inputs), _logits(pruned, inputs))


@pytest.mark.parametrize("first_layer_empty", [False, True], ids=["any", "layer0_empty"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@every_case
@given(data=strategies.data())
def test_decoding_with_a_cache_equals_the_full_pass(
    family: str, attention: str, kind: str, first_layer_empty: bool, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention, first_layer_empty=first_layer_empty))
    pruned = remove(model, plan)
    ids = inputs["input_ids"]
    length = ids.shape[1]
    visible = inputs.get("attention_mask", torch.ones_like(ids))
    cache = (
        DynamicCache(config=pruned.config)
        if kind == "dynamic"
        else StaticCache(config=pruned.config, max_cache_len=length + 3)
    )
    split = data.draw(strategies.integers(1, length))
    steps = [(0, split), *((i, i + 1) for i in range(split, length))]
    stepped = []
    for start, stop in steps:
        given_mask = {"attention_mask": visible[:, :stop]} if "attention_mask" in inputs else {}
        with torch.no_grad():
            stepped.append(
                pruned(ids[:, start:stop], past_key_values=cache, use_cache=True, **given_mask)
                .logits
            )  # fmt: skip
        assert int(cache.get_seq_length()) == stop
    full = _logits(mask(model, plan), inputs)
    logits = torch.cat(stepped, dim=1)
    _assert_close(logits[visible.bool()] if "attention_mask" in inputs else logits, full)
    for layer, cached in enumerate(cache.layers):
        assert cached.keys.shape[1] == max(1, len(heads_of(pruned.config).kv_kept(layer)))


@pytest.mark.parametrize("first_layer_empty", [False, True], ids=["any", "layer0_empty"])
@every_case
@given(data=strategies.data())
def test_generation_does_not_depend_on_the_cache(
    family: str, attention: str, first_layer_empty: bool, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention, first_layer_empty=first_layer_empty))
    pruned = remove(model, plan)
    mask_given = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    arguments = {"max_new_tokens": 4, "do_sample": False, "attention_mask": mask_given}
    for beams in (1, 3):
        without = pruned.generate(
            inputs["input_ids"], use_cache=False, num_beams=beams, **arguments
        )
        for kind in ("dynamic", "static"):
            cached = pruned.generate(
                inputs["input_ids"], cache_implementation=kind, num_beams=beams, **arguments
            )
            assert torch.equal(cached, without), (kind, beams)


@every_case
@given(data=strategies.data())
def test_gradients_of_surviving_weights_equal_those_under_the_mask(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, attention))
    model = copy.deepcopy(model).double()
    # left padding is NaN under eager attention in float64, in transformers itself
    inputs.pop("attention_mask", None)
    masked, pruned = mask(model, plan), remove(model, plan)
    for twin in (masked, pruned):
        twin(**inputs).logits[:, -1].square().mean().backward()
    before, after = heads_of(model.config), heads_of(pruned.config)
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in masked.named_parameters()
    }
    expected = slice_state_dict(gradients, anatomy_of(model.config), before, after)
    for name, parameter in pruned.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        # transformers' RMSNorm and softmax are float32 inside, GPT-2's are not
        _assert_close(found, expected.pop(name), 1e-9 if family == "gpt2" else 1e-5)
    assert not expected


@every_case
@given(data=strategies.data())
def test_order_of_heads_carries_no_meaning(
    family: str, attention: str, data: strategies.DataObject
) -> None:
    """Exchanging KV groups, and query heads inside them, leaves the logits unchanged."""
    model, _, inputs = data.draw(cases(family, attention))
    heads = heads_of(model.config)
    groups = data.draw(strategies.permutations(range(heads.num_kv_heads)))
    inside = data.draw(strategies.permutations(range(heads.group_size)))
    queries = [group * heads.group_size + member for group in groups for member in inside]
    row = anatomy_of(model.config)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for layer in range(heads.num_layers):
        path = row.layer_path(layer)
        for projection in row.inputs:
            rows = heads.rows(layer, projection, queries, groups)
            key = f"{path}.{projection.name}"
            state[f"{key}.weight"] = state[f"{key}.weight"].index_select(row.input_axis, rows)
            if heads.has_bias:
                state[f"{key}.bias"] = state[f"{key}.bias"][rows]
        key = f"{path}.{row.output}.weight"
        state[key] = state[key].index_select(row.output_axis, heads.columns(queries))
    permuted = type(model)(model.config).eval()
    permuted.load_state_dict(state)
    _assert_close(_logits(permuted, inputs), _logits(model, inputs))
