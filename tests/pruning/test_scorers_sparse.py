"""Scores of single weights through a whole model, and SparseGPT layer after layer."""

import copy

import pytest
import torch
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import ScoringInputs, prune
from sentinel_research.pruning.calibrate import Totals
from sentinel_research.pruning.sparsegpt import sparsegpt as solve
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec
from tests.pruning.conftest import (
    assert_scores,
    score,
    statistics_of,
)
from tests.pruning.subjects import (
    CALIBRATION,
    Subject,
    every_subject,
    fresh,
    gradients,
    readings,
    subject_of,
)

# widths that divide by four, in every projection
FOURFOLD = {
    "gpt2": {"n_layer": 2, "n_head": 3, "n_embd": 36, "n_inner": 28},
    "llama": {
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "hidden_size": 36,
        "head_dim": 4,
        "intermediate_size": 28,
    },
}


@every_subject
def test_wanda_of_a_weight_is_its_size_times_the_norm_of_its_input(name: str) -> None:
    subject = subject_of(name)
    modules = subject.projections()
    expected = []
    for module, reading in zip(modules, readings(subject.model, modules), strict=True):
        norms = [torch.linalg.norm(column) for column in reading.read.T]
        expected.append(subject.matrix(module).abs() * torch.stack(norms))
    assert_scores(score(name, "wanda", "weight"), expected)


@every_subject
def test_taylor_of_a_weight_is_its_size_times_that_of_its_mean_gradient(name: str) -> None:
    subject = subject_of(name)
    names = {id(p): n for n, p in subject.model.named_parameters()}
    expected = []
    for module in subject.projections():
        key = names[id(module.weight)]
        mean = torch.stack([gradient[key] for gradient in gradients(name)]).mean(dim=0)
        product = (module.weight.detach().double() * mean).abs()
        expected.append(product.T if subject.family == "gpt2" else product)
    assert_scores(score(name, "taylor_weights", "weight"), expected)


@pytest.mark.parametrize("name", ["gpt2-dense", "llama-ragged", "opt-gutted"])
def test_wanda_with_inputs_of_one_norm_keeps_what_magnitude_keeps(name: str) -> None:
    model = subject_of(name).model
    norms = [
        torch.full_like(layer, 7.0)
        for layer in statistics_of(name).total().layers("input_norms", "weight")
    ]
    totals = Totals(5, 31, {("input_norms", "weight"): norms})
    wanda = get("scorers", "wanda")(ScoringInputs(model=model, kind="weight", totals=totals))
    for found, size in zip(wanda, score(name, "magnitude_l1", "weight"), strict=True):
        assert torch.equal(found.argsort(dim=1, stable=True), size.argsort(dim=1, stable=True))


def _slow_sparsegpt(subject: Subject, fraction: float) -> dict[str, Tensor]:
    """Solve the projections of a layer, put the new weights in, go to the next layer."""
    places = {id(m): n for n, m in subject.model.named_modules()}
    solved = {}
    for layer in range(len(subject.heads)):
        modules = []
        for block, units in (("attention", subject.heads), ("ffn", subject.neurons)):
            if units[layer]:
                modules += [*subject.inputs(layer, block), subject.output(layer, block)]
        for module, reading in zip(modules, readings(subject.model, modules), strict=True):
            found = solve(subject.matrix(module).float(), reading.read.T @ reading.read, fraction)
            with torch.no_grad():
                stored = found.weight.T if subject.family == "gpt2" else found.weight
                module.weight.copy_(stored)
            solved[f"{places[id(module)]}.weight"] = module.weight.detach().clone()
    return solved


@pytest.mark.parametrize("name", ["gpt2-dense", "llama-dense", "opt-ragged", "gpt2-gutted"])
def test_sparsegpt_solves_each_layer_on_what_the_pruned_layers_before_it_write(name: str) -> None:
    spec = PruneSpec(scorer="sparsegpt", fraction=0.4, granularity="weight")
    pruned, report = prune(subject_of(name).model, spec, calibration=CALIBRATION)
    found = {name: p.detach() for name, p in pruned.named_parameters()}
    expected = _slow_sparsegpt(fresh(name), 0.4)
    assert report.plan.weights.keys() == expected.keys()
    for key, weight in expected.items():
        # the same weights go: none lies within rounding of the threshold
        assert torch.equal(found[key] == 0, weight == 0)
        # updates divide by a Hessian of 31 tokens with one percent of damping
        scale = float(weight.abs().max())
        assert float((found[key] - weight).abs().max()) <= 1e-3 * scale


def test_sparsegpt_does_not_solve_all_layers_on_the_dense_models_activations() -> None:
    """Guards the test above: the order of layers has to matter."""
    expected = _slow_sparsegpt(fresh("gpt2-dense"), 0.4)
    dense = fresh("gpt2-dense")
    (module,) = dense.inputs(2, "attention")
    (reading,) = readings(dense.model, [module])
    naive = solve(dense.matrix(module).float(), reading.read.T @ reading.read, 0.4).weight.T
    sequential = expected["transformer.h.2.attn.c_attn.weight"]
    assert float((naive - sequential).abs().max()) > 1e-2


@pytest.mark.parametrize("scorer", ["magnitude_l1", "wanda", "taylor_weights", "sparsegpt"])
@pytest.mark.parametrize("family", FOURFOLD)
def test_two_of_every_four_inputs_of_an_output_go_however_the_weight_is_stored(
    family: str, scorer: str
) -> None:
    model = tiny_model(family, **FOURFOLD[family])
    spec = PruneSpec(scorer=scorer, fraction=0.5, granularity="2:4")
    pruned, report = prune(model, spec, calibration=CALIBRATION)
    assert len(report.plan.weights) == (4 if family == "gpt2" else 7) * 2
    for name in report.plan.weights:
        stored = pruned.get_parameter(name)
        weight = stored.T if family == "gpt2" else stored  # [out, in]
        zeros = (weight == 0).reshape(weight.shape[0], -1, 4).sum(dim=2)
        assert zeros.unique().tolist() == [2]


def test_two_of_four_of_a_width_that_does_not_divide_is_refused() -> None:
    spec = PruneSpec(scorer="sparsegpt", fraction=0.5, granularity="2:4")
    with pytest.raises(UsageError, match="30 columns do not divide into groups of 4"):
        prune(subject_of("gpt2-dense").model, spec, calibration=CALIBRATION)


def test_sparsegpt_refuses_a_scope_that_it_does_not_have() -> None:
    spec = PruneSpec(scorer="sparsegpt", fraction=0.5, granularity="weight", scope="global")
    with pytest.raises(UsageError, match="whatever the scope") as caught:
        prune(subject_of("gpt2-dense").model, spec, calibration=CALIBRATION)
    assert "leave out" in caught.value.hint


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sparsegpt_of_nothing_changes_no_bit(dtype: torch.dtype) -> None:
    model = tiny_model("opt").to(dtype)
    for parameter in model.parameters():
        # values that no smaller type holds
        parameter.mul_(1.1)
    # relu neurons that never fire are dead inputs of the projection behind them
    model.model.decoder.layers[1].fc1.bias[:10] = -50.0
    spec = PruneSpec(scorer="sparsegpt", fraction=0.0, granularity="weight")
    pruned, _ = prune(model, spec, calibration=CALIBRATION)
    after = pruned.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())


def test_sparsegpt_loses_less_of_the_layers_output_than_magnitude() -> None:
    """On the text itself, in the first projection, with many more tokens than inputs."""
    subject = subject_of("llama-dense")
    text = CalibrationSet.of(torch.randint(256, (31, 13), generator=torch.Generator()))
    (reading,) = readings(subject.model, subject.inputs(0, "attention")[:1], text)
    name = "model.layers.0.self_attn.q_proj.weight"
    before = subject.model.get_parameter(name).detach().double()
    errors = {}
    for scorer, scope in (("sparsegpt", "local"), ("magnitude_l1", "global")):
        spec = PruneSpec(scorer=scorer, fraction=0.5, granularity="weight", scope=scope)
        pruned = prune(subject.model, spec, calibration=text).model
        after = pruned.get_parameter(name).detach().double()
        errors[scorer] = float((reading.read @ (after - before).T).square().sum())
    assert errors["sparsegpt"] < 0.8 * errors["magnitude_l1"]


def test_solver_leaves_the_model_that_it_was_given_alone() -> None:
    subject = fresh("gpt2-ragged")
    twin = copy.deepcopy(subject.model.state_dict())
    spec = PruneSpec(scorer="sparsegpt", fraction=0.5, granularity="weight")
    pruned = prune(subject.model, spec, calibration=CALIBRATION).model
    assert all(torch.equal(twin[k], v) for k, v in subject.model.state_dict().items())
    for model in (subject.model, pruned):
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("scorer", ["wanda", "taylor_weights", "sparsegpt"])
def test_batch_size_does_not_change_which_weights_go(scorer: str) -> None:
    model = subject_of("llama-ragged").model
    plans = []
    for batch_size in (1, 2, 5):
        calibration = {"corpus": "synthetic", "num_sequences": 5, "batch_size": batch_size}
        spec = PruneSpec(scorer=scorer, fraction=0.3, granularity="weight", calibration=calibration)
        plans.append(prune(model, spec, calibration=CALIBRATION).report.plan.weights)
    assert plans[0] == plans[1] == plans[2]
