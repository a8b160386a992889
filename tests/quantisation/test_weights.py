"""Which weights are quantised: the projections of every family, along their inputs."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.layout import projection_paths
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.quantisation import (
    RoundedForward,
    fake_quantise,
    quantise_in_place,
    quantised_copy,
    quantised_names,
)
from sentinel_research.specs import PruneSpec, QuantiseSpec

SPEC = QuantiseSpec(bits=3)


def _state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=torch.arange(20).reshape(2, 10)).logits


@pytest.mark.parametrize(
    ("family", "maps"),
    [
        ("mamba", ("in_proj", "x_proj", "dt_proj", "out_proj")),
        ("mamba2", ("in_proj", "out_proj")),
    ],
)
def test_linear_maps_of_layers_are_rounded_where_there_are_no_heads(
    family: str, maps: tuple[str, ...]
) -> None:
    model = tiny_model(family, seed=1)
    before = _state(model)
    quantise_in_place(model, SPEC)
    after = _state(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {
        f"backbone.layers.{layer}.mixer.{name}.weight" for layer in range(3) for name in maps
    }
    for name in changed:
        assert all(len(row.unique()) <= 7 for row in after[name])


def test_mixers_and_feed_forward_blocks_of_any_kind_are_rounded() -> None:
    model = tiny_model("sentinel", seed=1)
    names = quantised_names(model)
    assert "model.layers.0.mixer.in_proj.weight" in names
    assert "model.layers.1.self_attn.q_proj.weight" in names
    assert "model.layers.2.mlp.down_proj.weight" in names
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in names)


@pytest.mark.parametrize("family", FAMILIES)
def test_projections_are_rounded_by_output_and_nothing_else(family: str) -> None:
    model = tiny_model(family, seed=1)
    before = _state(model)
    report = quantise_in_place(model, SPEC)
    row, structure = anatomy_of(model.config), structure_of(model.config)
    names = {
        f"{path}.weight"
        for layer in range(structure.num_layers)
        for path in projection_paths(row, structure, layer)
    }
    after = _state(model)
    assert {name for name in after if not torch.equal(after[name], before[name])} == names
    for name in names:
        # a row of the matrix that outputs are the rows of has seven values at most
        matrix = after[name] if row.weight == "linear" else after[name].T
        assert all(len(one.unique()) <= 7 for one in matrix)
    assert report.num_weights == sum(before[name].numel() for name in names)
    assert report.num_grids == sum(
        before[name].shape[0 if row.weight == "linear" else 1] for name in names
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_quantised_model_is_on_its_grid_saved_and_reloaded_too(family: str, tmp_path: Path) -> None:
    spec = PruneSpec(scorer="random", fraction=0.4, granularity=("head", "neuron"), scope="global",
                     min_per_layer=0)  # fmt: skip
    model = prune(tiny_model(family, seed=1), spec).model
    for grid in (SPEC, QuantiseSpec(bits=4, group_size=4, symmetric=False)):
        quantise_in_place(model, grid)
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path)
        before = _state(again)
        report = quantise_in_place(again, grid)
        assert report.relative_error == 0
        assert all(torch.equal(value, before[name]) for name, value in _state(again).items())


def test_report_names_what_was_left_out_and_how_far_weights_moved() -> None:
    model = tiny_model("gpt2", seed=1)
    before = {name: model.get_parameter(name).detach().clone() for name in quantised_names(model)}
    report = quantise_in_place(model, SPEC)
    assert "transformer.wte.weight" in report.left_out
    assert "transformer.h.*.ln_1.weight" in report.left_out
    assert "transformer.h.*.attn.c_attn.bias" in report.left_out
    assert not any("c_attn.weight" in name for name in report.left_out)
    after = _state(model)
    moved = sum(float((after[name] - old).square().sum()) for name, old in before.items())
    size = sum(float(old.square().sum()) for old in before.values())
    assert report.relative_error == pytest.approx((moved / size) ** 0.5, rel=1e-5)


def test_copy_leaves_the_model_alone() -> None:
    model = tiny_model("llama", seed=1)
    before = _state(model)
    found = quantised_copy(model, SPEC)
    assert all(torch.equal(value, before[name]) for name, value in _state(model).items())
    assert not torch.equal(_logits(found), _logits(model))


def test_entries_that_stay_keep_their_bits_and_move_no_grid() -> None:
    model, other = tiny_model("llama", seed=1), tiny_model("llama", seed=1)
    name = quantised_names(model)[0]
    keep = torch.ones_like(model.get_parameter(name))
    keep[:, ::3] = 0
    for one, size in ((model, 100.0), (other, 1.0)):
        with torch.no_grad():
            one.get_parameter(name)[:, ::3] = size
    reports = [quantise_in_place(one, SPEC, {name: keep}) for one in (model, other)]
    assert bool((model.get_parameter(name)[:, ::3] == 100).all())
    assert torch.equal(model.get_parameter(name)[:, 1::3], other.get_parameter(name)[:, 1::3])
    assert reports[0] == reports[1]
    assert reports[0].num_weights < quantise_in_place(other, SPEC).num_weights


def test_weights_that_are_not_finite_are_refused() -> None:
    model = tiny_model("gpt2")
    name = quantised_names(model)[2]
    with torch.no_grad():
        model.get_parameter(name)[0, 0] = float("nan")
    with pytest.raises(UsageError, match=f"{name} holds values that are not finite"):
        quantise_in_place(model, SPEC)


def test_unknown_family_and_stored_quantisation_are_refused() -> None:
    model = tiny_model("gpt2")
    model.config.quantization_config = {"quant_method": "other"}
    with pytest.raises(UsageError, match="stored quantised already"):
        quantised_names(model)
    del model.config.quantization_config
    model.config.model_type = "mamba"
    with pytest.raises(UsageError, match="type 'mamba'") as caught:
        quantised_names(model)
    assert "linear maps in numbered layers" in caught.value.hint


@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_forward_computes_what_a_quantised_model_computes(family: str) -> None:
    model = tiny_model(family, seed=1)
    plain, before = _logits(model), _state(model)
    expected = _logits(quantised_copy(model, SPEC))
    rounding = RoundedForward(model, SPEC)
    assert torch.equal(_logits(model), expected)
    assert all(torch.equal(value, before[name]) for name, value in _state(model).items())
    rounding.remove()
    assert torch.equal(_logits(model), plain)


def test_gradients_of_rounded_forward_are_those_of_the_quantised_weights() -> None:
    model = tiny_model("gpt2", seed=1)
    other = quantised_copy(model, SPEC)
    rounding = RoundedForward(model, SPEC)
    for one in (model, other):
        _logits(one).square().sum().backward()
    rounding.remove()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, other.get_parameter(name).grad), name


def test_a_forward_pass_that_fails_leaves_the_weights_in_sight() -> None:
    model = tiny_model("llama", seed=1)
    name = quantised_names(model)[-1]
    module = model.get_submodule(name.rpartition(".")[0])
    rounding = RoundedForward(model, SPEC)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, module.in_features + 1))
    assert module.weight is module._parameters["weight"]
    rounding.remove()


def test_copy_of_a_rounded_model_rounds_its_own_weights() -> None:
    model = tiny_model("gpt2", seed=1)
    rounding = RoundedForward(model, SPEC)
    other = copy.deepcopy(model)
    name = quantised_names(model)[0]
    with torch.no_grad():
        other.get_parameter(name).mul_(2)
    assert not torch.equal(_logits(other), _logits(model))
    rounding.remove()


def test_fused_conv1d_is_rounded_by_output_column() -> None:
    model = tiny_model("gpt2", seed=1)
    name = "transformer.h.0.attn.c_attn.weight"
    stored = model.get_parameter(name).detach().clone()
    quantise_in_place(model, SPEC)
    assert torch.equal(model.get_parameter(name), fake_quantise(stored.T, SPEC).T)
