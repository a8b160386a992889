"""Recovery that ends on a grid of a few bits, seen by training or not, with what is gone gone."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.quantisation import quantise_in_place, quantised_copy, quantised_names
from sentinel_research.recoveries import recover
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import PruneSpec, QuantiseSpec
from tests.recoveries.conftest import (
    Subject,
    assert_held,
    assert_resumes_exactly,
    changed,
    inputs_of,
    pruned_in_training,
    recovered,
    spec_of,
    subject,
)

BITS = 3
AFTER = {"bits": BITS}
THROUGHOUT = {"bits": BITS, "when": "throughout"}
MODES = pytest.mark.parametrize("options", [AFTER, THROUGHOUT], ids=["after", "throughout"])
SQUARE = {"n_embd": 20, "n_inner": 36}


def _assert_on_grid(model: PreTrainedModel, one: Subject, spec: QuantiseSpec | None = None) -> None:
    """Quantising again changes no bit."""
    again = copy.deepcopy(model)
    quantise_in_place(again, spec or QuantiseSpec(bits=BITS), held(model, one.plan))
    assert not changed(model, again)


@MODES
@pytest.mark.parametrize("family", FAMILIES)
def test_result_is_on_its_grid_and_reloads(
    family: str, options: dict[str, Any], text: TrainingSet, tmp_path: Path
) -> None:
    one = subject(family)
    found = recovered(one, spec_of({"full": {}, "quantise": options}, num_steps=2), text)
    assert type(found.model) is type(one.pruned)
    assert found.model.state_dict().keys() == one.pruned.state_dict().keys()
    _assert_on_grid(found.model, one)
    found.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not changed(found.model, again)
    json.dumps(found.report, allow_nan=False)


@pytest.mark.parametrize(
    "options",
    [{"bits": 4, "group_size": 4}, {"bits": 2, "symmetric": False}],
    ids=["groups", "asymmetric"],
)
def test_options_choose_the_grid(options: dict[str, Any], text: TrainingSet) -> None:
    one = subject()
    found = recovered(one, spec_of({"quantise": {**options, "when": "throughout"}}), text)
    _assert_on_grid(found.model, one, QuantiseSpec(**options))
    assert found.report["quantise"]["bits"] == options["bits"]
    other = copy.deepcopy(found.model)
    quantise_in_place(other, QuantiseSpec(bits=3))
    assert changed(found.model, other)


def test_rounding_after_is_plain_training_and_then_rounding(text: TrainingSet) -> None:
    one = subject()
    plain = recovered(one, spec_of(), text)
    found = recovered(one, spec_of({"full": {}, "quantise": AFTER}), text)
    assert not changed(quantised_copy(plain.model, QuantiseSpec(bits=BITS)), found.model)
    losses = [phase["losses"] for report in (plain, found) for phase in report.report["phases"]]
    assert losses[0] == losses[1]


def test_training_throughout_sees_rounded_weights_and_moves_its_own(text: TrainingSet) -> None:
    one = subject(config={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    rounded = quantised_copy(one.pruned, QuantiseSpec(bits=BITS))
    starts = [
        recovered(at, spec_of(methods, num_steps=1), text).report["phases"][0]["losses"][0]["loss"]
        for at, methods in (
            (one._replace(pruned=rounded), {"full": {}}),
            (one, {"quantise": THROUGHOUT}),
            (one, {"quantise": AFTER}),
        )
    ]
    assert starts[0] == starts[1] != starts[2]
    # a step of a tenth of the grid's moves no rounded weight, and many of them do
    spec = spec_of({"quantise": THROUGHOUT}, num_steps=40, learning_rate=0.003, weight_decay=0.0)
    found = recovered(one, spec, text)
    assert set(quantised_names(one.pruned)) <= changed(rounded, found.model)


def test_validation_is_the_cross_entropy_of_the_model_that_comes_out(text: TrainingSet) -> None:
    one = subject()
    methods = {"quantise": THROUGHOUT, "distill": {}}
    found = recovered(one, spec_of(methods, validate_every=3), text)
    assert text.validation is not None
    ids = torch.from_numpy(text.validation)
    with torch.no_grad():
        loss = float(found.model(input_ids=ids, labels=ids).loss)
    # means over batches, in float32
    assert found.report["phases"][0]["validation_loss"] == pytest.approx(loss, rel=1e-5)


def test_rounded_training_ends_with_a_lower_loss_than_rounding_afterwards(
    text: TrainingSet,
) -> None:
    one = subject(config={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    ids = torch.from_numpy(text.blocks)
    losses = []
    for when in ("after", "throughout"):
        options = {"bits": 2, "when": when}
        spec = spec_of({"quantise": options}, num_steps=60, weight_decay=0.0)
        model = recovered(one, spec, text).model
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=ids).loss))
    # rows that count upwards are easy: what is left is what rounding spoils
    assert losses[1] < losses[0] - 0.1


@MODES
@pytest.mark.parametrize(
    "changes",
    [
        {"form": "mask"},
        {"form": "mask", "granularity": "layer", "scope": "global"},
        {"granularity": "weight"},
        {"granularity": "2:4", "fraction": 0.5},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_pruning_took_out_keeps_every_bit(
    changes: dict[str, Any], options: dict[str, Any], text: TrainingSet
) -> None:
    one = subject(config=SQUARE, **changes)
    after = recovered(one, spec_of({"quantise": options}, num_steps=2), text).model
    assert_held(one, after)
    _assert_on_grid(after, one)


@MODES
def test_quantising_a_mask_is_quantising_what_removal_leaves(
    options: dict[str, Any], text: TrainingSet
) -> None:
    config = {"attn_pdrop": 0.0}
    spec = spec_of({"quantise": options}, num_steps=1, max_grad_norm=0.0)
    logits = []
    for form in ("mask", "remove"):
        model = recovered(subject(config=config, form=form), spec, text).model
        with torch.no_grad():
            logits.append(model(input_ids=torch.arange(20).reshape(2, 10)).logits)
    # after one step a weight half-way between two values may go either way, by float32's rounding
    share = ((logits[0] - logits[1]).abs() < 1e-3 * logits[0].abs().max()).double().mean()
    assert share > 0.9


@MODES
def test_interrupted_recovery_goes_on_exactly(
    options: dict[str, Any], text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of({"full": {}, "quantise": options}, validate_every=2, keep="best")
    assert_resumes_exactly(subject(), spec, text, tmp_path, monkeypatch)


def test_models_that_are_given_are_not_changed(text: TrainingSet) -> None:
    one = subject()
    before = {name: value.clone() for name, value in one.pruned.state_dict().items()}
    recovered(one, spec_of({"quantise": THROUGHOUT}, num_steps=1), text)
    assert all(torch.equal(value, before[name]) for name, value in one.pruned.state_dict().items())
    assert not any(module._forward_hooks for module in one.pruned.modules())


def test_nothing_is_left_on_the_result(text: TrainingSet) -> None:
    found = recovered(subject(), spec_of({"quantise": THROUGHOUT}, num_steps=1), text).model
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in found.modules())


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(
    "other", [{"lora": {"r": 2}}, {"gates": {"add": "static"}}], ids=["lora", "gates"]
)
def test_rounding_comes_last_wherever_it_is_named(
    other: dict[str, Any], first: bool, text: TrainingSet
) -> None:
    one = subject()
    methods = {"quantise": AFTER, **other} if first else {**other, "quantise": AFTER}
    found = recovered(one, spec_of(methods, num_steps=2), text)
    _assert_on_grid(found.model, one)


def test_masks_that_change_are_rounded_at_the_end(text: TrainingSet) -> None:
    dense, prune = tiny_model("gpt2", seed=2), PruneSpec(scorer="magnitude_l2", fraction=0.4)
    methods = {"gradual": {"num_updates": 2}, "quantise": AFTER}
    found = pruned_in_training(dense, prune, spec_of(methods), text)
    assert found.pruned is not None
    _assert_on_grid(found.model, Subject(dense, found.model, prune, found.pruned.plan))


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"precision": "bf16"}])
def test_ways_to_train_see_rounded_weights_too(changes: dict[str, Any], text: TrainingSet) -> None:
    one = subject(config={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    spec = spec_of({"quantise": THROUGHOUT}, num_steps=2, **changes)
    found = recovered(one, spec, text)
    _assert_on_grid(found.model, one)
    plain = recovered(one, spec_of({"quantise": THROUGHOUT}, num_steps=2), text)
    losses = [run.report["phases"][0]["losses"][-1]["loss"] for run in (found, plain)]
    # bfloat16 has three digits
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_dense_model_can_be_quantised_alone(text: TrainingSet) -> None:
    dense = tiny_model("llama", seed=2)
    found = recover(
        dense,
        spec_of({"quantise": THROUGHOUT}, num_steps=1),
        byte_tokenizer(),
        data=text._replace(validation=None),
    )
    assert not changed(quantised_copy(found.model, QuantiseSpec(bits=BITS)), found.model)


@pytest.mark.parametrize(
    ("methods", "train", "why"),
    [
        ({"lora": {}, "quantise": THROUGHOUT}, {}, "`lora` trains additions"),
        ({"quantise": THROUGHOUT, "lora": {}}, {}, "`lora` trains additions"),
        ({"quantise": THROUGHOUT}, {"compile": True}, "compiles it once"),
        ({"quantise": {"bits": 1}}, {}, "bits"),
        ({"quantise": {"bits": 4, "group_size": 0}}, {}, "group_size"),
        ({"quantise": {}}, {}, "bits"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    methods: dict[str, Any], train: dict[str, Any], why: str, text: TrainingSet
) -> None:
    with pytest.raises(UsageError, match=why):
        recovered(subject(), spec_of(methods, **train), text)


def test_masks_that_change_throughout_are_refused(text: TrainingSet) -> None:
    prune = PruneSpec(scorer="magnitude_l2", fraction=0.4)
    spec = spec_of({"gradual": {"num_updates": 2}, "quantise": THROUGHOUT})
    with pytest.raises(UsageError, match="what stays beside it"):
        pruned_in_training(tiny_model("gpt2"), prune, spec, text)


def test_family_without_known_projections_is_refused(text: TrainingSet) -> None:
    one = subject()
    plugin = registry.get("recoveries", "quantise")
    inputs = inputs_of(one, text, {"quantise": AFTER})
    one.pruned.config.model_type = "mamba"
    with pytest.raises(UsageError, match="type 'mamba'"):
        plugin(inputs, plugin.options(bits=4))


@pytest.mark.parametrize("when", ["before", "after", "joint"])
def test_rounding_around_a_pruning_in_one_go_is_refused_while_training(
    when: str, text: TrainingSet
) -> None:
    quantise = {"bits": BITS, "when": when}
    prune = PruneSpec(scorer="magnitude_l2", fraction=0.4, quantise=quantise)
    recover = spec_of({"gradual": {"num_updates": 2}})
    with pytest.raises(UsageError, match=f"when: {when}` rounds weights around"):
        pruned_in_training(tiny_model("gpt2"), prune, recover, text)
