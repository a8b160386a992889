"""Pruning during training: ends as one-shot pruning would, at the same budget, and resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import plan_units, prune
from sentinel_research.recoveries import Adjustment, Phase, Recovered, gradual
from sentinel_research.recoveries.mask_changes import overlap
from sentinel_research.recoveries.methods import check_methods
from sentinel_research.specs import PruneSpec
from sentinel_research.training.watch import Watch
from tests.recoveries.conftest import (
    calibration,
    pruned_in_training,
    recovered,
    spec_of,
    subject,
)

METHODS: dict[str, dict[str, Any]] = {
    "gradual": {"num_updates": 3, "end": 0.7},
    "rounds": {"num_rounds": 2},
    "regrow": {"every": 1, "drop_share": 0.9},
    "adaptive_masking": {"every": 2},
}
NESTED = ("gradual", "rounds")
ONE_UPDATE = {"gradual": {"num_updates": 1, "begin": 0, "end": 0}}
DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
every_method = pytest.mark.parametrize("method", METHODS)


def _prune(**changes: Any) -> PruneSpec:
    given = {"scorer": "magnitude_l2", "fraction": 0.5, "scope": "global", **changes}
    return PruneSpec.model_validate(given)


def _trained(method: str, text: TrainingSet, prune: PruneSpec, **options: Any) -> Recovered:
    dense = tiny_model("gpt2", seed=2, **DROPOUT)
    return pruned_in_training(dense, prune, spec_of({method: METHODS[method]}), text, **options)


def _same(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize(
    ("method", "family", "changes"),
    [
        ("gradual", "gpt2", {"scope": "local", "fraction": 0.6, "granularity": "neuron"}),
        ("gradual", "gpt2", {"granularity": ["head", "neuron"], "budget": "parameters"}),
        ("rounds", "gpt2", {"granularity": ["attention", "ffn"]}),
        ("rounds", "llama", {"granularity": "kv_group", "scorer": "taylor", "normalise": "layer"}),
        ("regrow", "gpt2", {"scope": "local", "fraction": 0.6, "granularity": "neuron"}),
        ("regrow", "gpt2", {"granularity": ["head", "neuron"], "budget": "parameters"}),
        ("regrow", "llama", {"granularity": "kv_group", "scorer": "taylor", "fraction": 0.4}),
        ("adaptive_masking", "gpt2", {"granularity": ["attention", "ffn"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_as_much_goes_as_in_one_shot(
    method: str, family: str, changes: dict[str, Any], text: TrainingSet
) -> None:
    spec, dense = _prune(**changes), tiny_model(family, seed=2)
    recover = spec_of({method: METHODS[method]}, num_steps=4 if method != "gradual" else 6)
    report = pruned_in_training(dense, spec, recover, text).pruned
    expected = plan_units(dense, spec, calibration())
    assert report is not None
    assert expected.selection is not None
    assert report.plan.fraction == spec.fraction
    assert report.budget_requested == expected.selection.requested
    assert report.budget_achieved <= report.budget_requested  # type: ignore[operator]
    if spec.budget == "units":
        assert report.num_removed == expected.plan.num_removed
        assert report.budget_achieved == expected.selection.achieved
    if spec.scope == "local":
        counts = [
            [len(layer.neurons) for layer in plan.kept] for plan in (report.plan, expected.plan)
        ]
        assert counts[0] == counts[1]


@pytest.mark.parametrize("method", NESTED)
def test_single_weights_go_as_in_one_shot_and_stay_zero(method: str, text: TrainingSet) -> None:
    spec, dense = _prune(granularity="weight", scope="local"), tiny_model("gpt2", seed=2)
    recover = spec_of({method: METHODS[method]})
    after, report, pruned = pruned_in_training(dense, spec, recover, text)
    expected = plan_units(dense, spec).plan
    assert pruned is not None
    assert {name: mask.num_zero for name, mask in pruned.plan.weights.items()} == {
        name: mask.num_zero for name, mask in expected.weights.items()
    }
    for name, mask in pruned.plan.weights.items():
        zeros = after.get_parameter(name) == 0
        assert torch.equal(zeros, torch.from_numpy(~mask.keep())), name
    assert report["masks"][-1]["overlap_one_shot"] == overlap(expected, pruned.plan) < 1
    assert all(entry["num_grown"] == 0 for entry in report["masks"])


@every_method
def test_removing_what_is_masked_gives_the_logits_of_the_masked_model(
    method: str, text: TrainingSet
) -> None:
    removed, masked = (_trained(method, text, _prune(form=form)) for form in ("remove", "mask"))
    assert removed.model.num_parameters() < masked.model.num_parameters()
    with pytest.raises(UsageError, match="cannot be saved"):
        masked.model.save_pretrained("anywhere")
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        logits = [one.model(input_ids=ids).logits for one in (removed, masked)]
    # removal sums fewer terms than the mask, in another order
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"scorer": "gate_gradient"}, {"granularity": "weight", "scope": "local"}],
    ids=["magnitude", "gradient", "weight"],
)
def test_one_update_before_the_first_step_is_one_shot_pruning_and_full_recovery(
    changes: dict[str, Any], text: TrainingSet
) -> None:
    """Bit for bit where the one-shot model is masked; dropout and weight decay included."""
    spec, dense = _prune(form="mask", **changes), tiny_model("gpt2", seed=2, **DROPOUT)
    once = prune(dense, spec, calibration=calibration())
    expected = recovered(
        subject()._replace(dense=dense, pruned=once.model, spec=spec, plan=once.report.plan),
        spec_of(),
        text,
    )
    found = pruned_in_training(dense, spec, spec_of(ONE_UPDATE), text)
    assert found.pruned is not None
    assert found.pruned.plan == once.report.plan
    assert _same(found.model, expected.model)
    assert found.report["phases"][0]["losses"] == expected.report["phases"][0]["losses"]


def test_scoring_that_changes_no_mask_leaves_training_bit_equal(
    text: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward passes of a scorer move no gradient, moment, dropout or norm."""
    spec, dense = _prune(scorer="gate_gradient"), tiny_model("gpt2", seed=2, **DROPOUT)

    def trained(updates: dict[int, float]) -> Recovered:
        monkeypatch.setattr(gradual, "gradual_updates", lambda *_: updates)
        return pruned_in_training(dense, spec, spec_of({"gradual": {}}), text)

    once, often = trained({0: 0.5}), trained({0: 0.5, 2: 0.5, 3: 0.5, 5: 0.5})
    assert [len(one.report["masks"]) for one in (once, often)] == [1, 4]
    assert _same(once.model, often.model)
    # gradients' norms too
    assert once.report["phases"][0]["losses"] == often.report["phases"][0]["losses"]


@every_method
def test_training_in_bf16_ends_pruned_in_float32(method: str, text: TrainingSet) -> None:
    """Removal compares logits with the mask's, which autocast would round to three digits."""
    dense = tiny_model("gpt2", seed=2)
    options = {"precision": "bf16", "accumulation_steps": 2, "gradient_checkpointing": True}
    recover = spec_of({method: METHODS[method]}, **options)
    after = pruned_in_training(dense, _prune(scorer="taylor"), recover, text)
    with torch.no_grad():
        assert after.model(input_ids=torch.arange(9)[None]).logits.dtype == torch.float32
    assert after.pruned is not None
    assert after.pruned.num_removed["head"] == 7


@pytest.mark.parametrize("method", NESTED)
def test_what_went_stays_gone_and_the_fraction_rises(method: str, text: TrainingSet) -> None:
    """Weight decay shrinks what is active, so that what is masked would not be the smallest."""
    spec = spec_of({method: METHODS[method]}, weight_decay=20.0)
    dense = tiny_model("gpt2", seed=2)
    history = pruned_in_training(dense, _prune(granularity="neuron"), spec, text).report["masks"]
    assert [entry["grown"] for entry in history] == [[]] * len(history)
    gone = [label for entry in history for label in entry["dropped"]]
    assert len(gone) == len(set(gone)) == history[-1]["num_removed"]["neuron"]
    assert len(history) > 1
    fractions = [entry["fraction"] for entry in history]
    assert fractions == sorted(set(fractions))


@pytest.mark.parametrize("method", ["regrow", "adaptive_masking"])
def test_units_come_back_and_the_fraction_stays(method: str, text: TrainingSet) -> None:
    history = _trained(method, text, _prune(scorer="taylor")).report["masks"]
    assert {entry["fraction"] for entry in history} == {0.5}
    assert len({tuple(entry["num_removed"].items()) for entry in history}) == 1
    assert sum(entry["num_grown"] for entry in history) > 0
    for entry in history[1:]:
        assert entry["num_grown"] == entry["num_dropped"]
        assert (entry["overlap_before"] == 1) == (entry["num_grown"] == 0)


def test_last_head_of_a_layer_can_be_exchanged_but_not_lost(text: TrainingSet) -> None:
    """Three of fifteen heads stay, so each layer has the one that it must have."""
    found = _trained("regrow", text, _prune(fraction=0.8))
    assert sum(entry["num_grown"] for entry in found.report["masks"]) > 0
    assert found.pruned is not None
    assert [len(layer.heads) for layer in found.pruned.plan.kept] == [1, 1, 1]


@every_method
def test_steps_and_tokens_are_those_of_one_shot_recovery(method: str, text: TrainingSet) -> None:
    """Seven steps, which no number of rounds divides."""
    dense = tiny_model("gpt2", seed=2)
    spec = spec_of({method: METHODS[method]}, num_steps=7)
    phases = pruned_in_training(dense, _prune(), spec, text).report["phases"]
    assert sum(phase["num_steps"] for phase in phases) == 7
    # the first token of a block is predicted from nothing
    assert sum(phase["num_tokens"] for phase in phases) == 7 * 4 * (text.blocks.shape[1] - 1)


@pytest.mark.parametrize(
    ("granularity", "method", "step"),
    [
        ("head", "gradual", 4),
        pytest.param("head", "rounds", 2, marks=pytest.mark.slow),
        ("head", "rounds", 5),
        ("head", "regrow", 3),
        pytest.param("head", "adaptive_masking", 4, marks=pytest.mark.slow),
        pytest.param("weight", "gradual", 4, marks=pytest.mark.slow),
        pytest.param("weight", "rounds", 5, marks=pytest.mark.slow),
    ],
)
def test_interrupted_training_ends_as_an_uninterrupted_one(
    granularity: str,
    method: str,
    step: int,
    text: TrainingSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is cut off after one of six steps, in either round, before its checkpoint is written."""
    spec = _prune(scorer="taylor", form="mask")
    if granularity == "weight":
        spec = _prune(scorer="wanda", granularity="weight", scope="local")
    whole = _trained(method, text, spec, folder=tmp_path / "whole")
    original, done = Watch.on_step_end, []

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        done.append(state.global_step)
        if len(done) == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", fails)
        with pytest.raises(KeyboardInterrupt):
            _trained(method, text, spec, folder=tmp_path / "cut")
    again = _trained(method, text, spec, folder=tmp_path / "cut")
    assert any(phase["resumed"] for phase in again.report["phases"])
    assert [phase["num_steps"] for phase in again.report["phases"]] == [
        phase["num_steps"] for phase in whole.report["phases"]
    ]
    assert _same(whole.model, again.model)
    assert _without_seconds(whole) == _without_seconds(again)


def _without_seconds(one: Recovered) -> tuple[Any, Any]:
    history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in one.report["masks"]]
    assert one.pruned is not None
    return history, one.pruned.model_copy(update={"scoring_seconds": 0.0})


@every_method
def test_heads_that_do_nothing_go_and_the_others_stay(method: str, text: TrainingSet) -> None:
    dense = tiny_model("gpt2", seed=2)
    width = dense.config.n_embd // dense.config.n_head
    useless = [(0, 1), (0, 3), (1, 0), (2, 2), (2, 4)]
    for layer, head in useless:
        # nothing reaches the residual stream
        rows = slice(head * width, (head + 1) * width)
        dense.transformer.h[layer].attn.c_proj.weight.data[rows] = 0
    spec = _prune(scorer="gate_gradient", fraction=0.34)
    recover = spec_of({method: METHODS[method]}, learning_rate=1e-4, weight_decay=0.0)
    pruned = pruned_in_training(dense, spec, recover, text).pruned
    assert pruned is not None
    assert pruned.removed == {"head": [f"L{layer}H{head}" for layer, head in useless]}


def test_only_heads_move_where_heads_are_pruned_gradually_and_trained_alone(
    text: TrainingSet,
) -> None:
    dense = tiny_model("gpt2", seed=2)
    recover = spec_of({"gradual": METHODS["gradual"], "heads": {}})
    after = pruned_in_training(dense, _prune(form="mask"), recover, text).model
    moved = [
        name
        for name, value in dense.named_parameters()
        if not torch.equal(value, after.get_parameter(name))
    ]
    assert moved
    assert all(".attn." in name for name in moved)


@pytest.mark.parametrize("method", ["rounds", "regrow"])
def test_model_that_is_given_is_not_changed(method: str, text: TrainingSet) -> None:
    dense = tiny_model("gpt2", seed=2)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    hooks = sum(len(module._forward_pre_hooks) for module in dense.modules())
    pruned_in_training(dense, _prune(), spec_of({method: METHODS[method]}), text)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    assert sum(len(module._forward_pre_hooks) for module in dense.modules()) == hooks


@pytest.mark.parametrize(
    ("method", "prune", "train", "message"),
    [
        ("gradual", {"compensate": "bias"}, {}, "stands in for training"),
        ("gradual", {"transfer_from": "gpt2"}, {}, "transfer_from"),
        ("gradual", {"granularity": "2:4", "scope": "local"}, {}, "two of four"),
        ("rounds", {"scorer": "sparsegpt", "granularity": "weight", "scope": "local"}, {}, "none"),
        ("rounds", {}, {"keep": "best", "validate_every": 2}, "last step"),
        ("rounds", {}, {"num_steps": 1}, "more than the 1 steps"),
        ("gradual", {}, {"num_steps": 2}, "lower `num_updates`"),
        ("regrow", {"granularity": "weight", "scope": "local"}, {}, "has no gates"),
        ("regrow", {"scope": "local", "fraction": 0.8}, {}, "active units of every layer"),
        ("adaptive_masking", {"granularity": "weight", "scope": "local"}, {}, "hides nothing"),
        ("adaptive_masking", {}, {"num_steps": 2}, "never changes"),
    ],
)  # fmt: skip
def test_what_cannot_change_its_mask_is_refused(
    method: str,
    prune: dict[str, Any],
    train: dict[str, Any],
    message: str,
    text: TrainingSet,
) -> None:
    dense = tiny_model("gpt2", seed=2, n_embd=20, n_inner=36)
    recover = spec_of({method: METHODS[method]}, **train)
    with pytest.raises(UsageError, match=message):
        pruned_in_training(dense, _prune(**prune), recover, text)


def test_growing_without_calibration_text_is_refused(text: TrainingSet) -> None:
    with pytest.raises(UsageError, match="reads calibration text"):
        _trained("regrow", text, _prune(), calibration=None)


def test_two_methods_that_choose_masks_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="each choose the masks"):
        check_methods({"gradual": {}, "regrow": {}})


def test_phases_of_another_method_are_refused_beside_a_schedule_of_masks(
    text: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registry.get("recoveries", "full")
    halves = (Phase("first", 0.5), Phase("second", 0.5))
    phased = replace(found, function=lambda *_: Adjustment(phases=halves))
    original = registry.get
    monkeypatch.setattr(
        registry, "get", lambda group, name: phased if name == "full" else original(group, name)
    )
    recover = spec_of({"full": {}, "gradual": METHODS["gradual"]})
    with pytest.raises(UsageError, match="'full' divides the training into phases"):
        pruned_in_training(tiny_model("gpt2", seed=2), _prune(), recover, text)


def test_schedule_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="before `begin`"):
        check_methods({"gradual": {"begin": 0.5, "end": 0.2}})
