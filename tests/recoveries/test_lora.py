"""Low-rank additions: merged they are the model that was trained, and pruned entries stay."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.agency import add_agency
from sentinel_research.models.layout import projection_paths
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import AgencySpec, PruneSpec, StatePolicy
from tests.models.agency import disturb
from tests.recoveries.conftest import (
    Subject,
    assert_held,
    assert_resumes_exactly,
    changed,
    inputs_of,
    recovered,
    spec_of,
    subject,
)

# 2:4 needs widths that groups of four divide
SQUARE = {"n_embd": 20, "n_inner": 36}


@torch.no_grad()
def _logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=torch.arange(20).reshape(2, 10)).logits


def _uneven(family: str, **changes: Any) -> Subject:
    """Layers of different sizes, one of them without any head."""
    given = {"fraction": 0.4, "scope": "global", "min_per_layer": 0, "seed": 1, "scorer": "random"}
    return subject(family, granularity=["head", "neuron"], **{**given, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_model_is_plain_and_reloads(family: str, text: TrainingSet, tmp_path: Path) -> None:
    one = _uneven(family)
    found = recovered(one, spec_of({"lora": {}}), text)
    assert type(found.model) is type(one.pruned)
    assert found.model.state_dict().keys() == one.pruned.state_dict().keys()
    assert all(parameter.requires_grad for parameter in found.model.parameters())
    row, structure = anatomy_of(one.pruned.config), structure_of(one.pruned.config)
    paths = [path for i in range(3) for path in projection_paths(row, structure, i)]
    assert changed(one.pruned, found.model) == {f"{path}.weight" for path in paths}
    found.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(_logits(again), _logits(found.model))
    json.dumps(found.report, allow_nan=False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"form": "mask"},
        {"form": "mask", "granularity": "layer", "scope": "global"},
        {"granularity": "weight"},
        {"granularity": "2:4", "fraction": 0.5},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "remove",
)
def test_merging_gives_the_model_that_was_trained_and_holds_what_is_gone(
    changes: dict[str, Any], text: TrainingSet
) -> None:
    one = subject(config=SQUARE, **changes)
    # as `recover` does: a training writes checkpoints
    one.pruned.__dict__.pop("save_pretrained", None)
    before = {name: value.clone() for name, value in one.pruned.named_parameters()}
    plugin = registry.get("recoveries", "lora")
    adjustment = plugin(inputs_of(one, text, {"lora": {}}), plugin.options())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adjustment.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    trained = _logits(adjustment.model)
    merged = adjustment.finish(adjustment.model)
    # float32 sums in another order; logits are of about 10
    torch.testing.assert_close(_logits(merged), trained, rtol=1e-4, atol=1e-4)
    factors = held(merged, one.plan)
    assert bool(factors) == bool(changes)
    for name, factor in factors.items():
        still = factor.expand_as(before[name]) == 0
        assert torch.equal(merged.get_parameter(name)[still], before[name][still]), name


def test_sparse_weights_keep_their_zeros_through_a_recovery(text: TrainingSet) -> None:
    one = subject(granularity="weight", fraction=0.5)
    after = recovered(one, spec_of({"lora": {"dropout": 0.1}}), text).model
    assert_held(one, after)
    assert changed(one.pruned, after)


@pytest.mark.parametrize("gate", ["static", "input"])
def test_gates_act_on_additions_too(gate: str, text: TrainingSet) -> None:
    dense = disturb(add_agency(tiny_model("llama", seed=2), AgencySpec(gate=gate)))
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4)
    pruned = prune(dense, spec)
    one = Subject(dense, pruned.model, spec, pruned.report.plan)
    plugin = registry.get("recoveries", "lora")
    adjustment = plugin(inputs_of(one, text, {"lora": {}}), plugin.options())
    with torch.no_grad():
        for name, parameter in adjustment.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    trained = _logits(adjustment.model)
    merged = adjustment.finish(adjustment.model)
    # float32 sums in another order
    torch.testing.assert_close(_logits(merged), trained, rtol=1e-4, atol=1e-4)


def test_options_change_rank_and_blocks(text: TrainingSet) -> None:
    one = subject()
    options = {"r": 2, "alpha": 4, "targets": ["attention"]}
    found = recovered(one, spec_of({"lora": options}, num_steps=1), text)
    # [out, r] and [r, in] of both projections of every layer, nine heads of width six
    expected = 2 * sum(30 + 3 * 6 * heads + 6 * heads + 30 for heads in (3, 3, 3))
    assert found.report["phases"][0]["num_trained_parameters"] == expected
    assert found.report["lora"]["num_parameters"] == expected
    assert all(".attn." in name for name in changed(one.pruned, found.model))


def test_scaling_is_alpha_over_rank(text: TrainingSet) -> None:
    deltas = []
    for alpha in (8, 24):
        one = subject()
        plugin = registry.get("recoveries", "lora")
        made = plugin(inputs_of(one, text, {"lora": {}}), plugin.options(alpha=alpha))
        layer: Any = made.model.get_submodule("transformer.h.0.attn.c_attn")
        torch.nn.init.ones_(layer.lora_B["default"].weight)
        deltas.append(layer.get_delta_weight("default"))
    # alike but for alpha: the start is drawn from the seed
    torch.testing.assert_close(deltas[1], 3 * deltas[0])


def test_dropout_acts_in_training_only(text: TrainingSet) -> None:
    one = subject(config={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    runs = [
        recovered(one, spec_of({"lora": {"dropout": share}}), text).report["phases"][0]["losses"]
        for share in (0.0, 0.5)
    ]
    # additions start at zero
    assert runs[0][0]["loss"] == runs[1][0]["loss"]
    assert runs[0][-1]["loss"] != runs[1][-1]["loss"]


@pytest.mark.parametrize("changes", [{}, {"granularity": "weight"}], ids=["heads", "weights"])
def test_interrupted_recovery_goes_on_exactly(
    changes: dict[str, Any], text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of({"lora": {"dropout": 0.1}})
    assert_resumes_exactly(subject(**changes), spec, text, tmp_path, monkeypatch)


@pytest.mark.parametrize("other", ["heads", "per_head_lr", "component_lr", "gates"])
def test_methods_about_single_parts_are_excluded(other: str, text: TrainingSet) -> None:
    with pytest.raises(UsageError, match=f"'lora' and '{other}' exclude each other"):
        recovered(subject(), spec_of({other: {}, "lora": {}}), text)


def test_model_without_targets_is_refused(text: TrainingSet) -> None:
    one = subject(fraction=1.0, min_per_layer=0)
    with pytest.raises(UsageError, match="no projection in attention"):
        recovered(one, spec_of({"lora": {"targets": ["attention"]}}), text)


def test_heads_that_a_policy_moves_are_refused(text: TrainingSet) -> None:
    model = add_agency(tiny_model("gpt2"), AgencySpec(gate="static", policy=StatePolicy()))
    one = Subject(model, model, subject().spec, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"moved by `agency\.policy`"):
        recovered(one, spec_of({"lora": {}}), text)
