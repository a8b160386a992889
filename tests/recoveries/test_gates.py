"""Only gates train: those of the model, or gates that are added."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import HeadGate, add_agency, gated_layers
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.specs import AgencySpec, GateMode, PruneSpec
from tests.recoveries.conftest import (
    Subject,
    assert_held,
    assert_resumes_exactly,
    changed,
    recovered,
    spec_of,
    subject,
)


def _gated(family: str = "gpt2", **agency: object) -> Subject:
    given = AgencySpec.model_validate({"gate": "static", **agency})
    dense = add_agency(tiny_model(family, seed=2), given)
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4)
    pruned = prune(dense, spec)
    return Subject(dense, pruned.model, spec, pruned.report.plan)


def _names_of_gates(model: PreTrainedModel) -> set[str]:
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, HeadGate)
        for name, _ in module.named_parameters()
    }


def _logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(20).reshape(2, 10)).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_of_a_pruned_model_are_all_that_moves(family: str, text: TrainingSet) -> None:
    one = _gated(family)
    found = recovered(one, spec_of({"gates": {}}, num_steps=2), text)
    assert changed(one.pruned, found.model) == _names_of_gates(one.pruned)
    counts = [place.gate.num_heads for place in gated_layers(one.pruned, one.pruned.config)]
    assert found.report["phases"][0]["num_trained_parameters"] == sum(counts)
    assert found.report["gates"]["num_heads"] == counts
    json.dumps(found.report, allow_nan=False)


def test_gates_of_our_own_architecture_are_all_that_moves(text: TrainingSet) -> None:
    model = tiny_model("sentinel", mixers=["agency"] * 3, agency={"gate": "input"})
    one = Subject(model, model, subject().spec, None)  # type: ignore[arg-type]
    after = recovered(one, spec_of({"gates": {}}, num_steps=2), text).model
    moved = changed(model, after)
    assert moved
    assert moved == _names_of_gates(model)


@pytest.mark.parametrize("mode", ["static", "input", "hard_concrete"])
def test_added_gates_start_at_rest_and_are_saved_with_the_model(
    mode: GateMode, text: TrainingSet, tmp_path: Path
) -> None:
    one = subject("llama")
    # hard concrete gates are open in evaluation until they have moved by 0.6
    found = recovered(one, spec_of({"gates": {"add": mode}}, learning_rate=0.5), text)
    rest = add_agency(one.pruned, AgencySpec(gate=mode))
    assert torch.equal(_logits(rest), _logits(one.pruned))
    assert changed(rest, found.model) == _names_of_gates(rest)
    found.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.model_type == "agency_llama"
    assert torch.equal(_logits(again), _logits(found.model))
    assert not torch.equal(_logits(again), _logits(one.pruned))


def test_added_gates_hold_weights_at_zero(text: TrainingSet) -> None:
    one = subject(granularity="weight", fraction=0.5)
    assert_held(one, recovered(one, spec_of({"gates": {"add": "static"}}), text).model)


def test_interrupted_recovery_goes_on_exactly(
    text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of({"gates": {"add": "hard_concrete"}})
    assert_resumes_exactly(subject(), spec, text, tmp_path, monkeypatch)


def test_penalty_of_gates_that_another_method_holds_is_left_out(text: TrainingSet) -> None:
    one = _gated(gate="hard_concrete", l0_penalty=0.1)
    after = recovered(one, spec_of({"heads": {}}, num_steps=2), text).model
    assert changed(one.pruned, after)
    assert not changed(one.pruned, after) & _names_of_gates(one.pruned)


def test_model_without_gates_is_refused(text: TrainingSet) -> None:
    with pytest.raises(UsageError, match="a model of type 'pruned_gpt2' has none") as caught:
        recovered(subject(), spec_of({"gates": {}}), text)
    assert "gates: {add: static}" in caught.value.hint


def test_gates_are_not_added_twice(text: TrainingSet) -> None:
    with pytest.raises(UsageError, match="has gates already"):
        recovered(_gated(), spec_of({"gates": {"add": "static"}}), text)


def test_gates_are_not_added_to_a_masked_model(text: TrainingSet) -> None:
    with pytest.raises(UsageError, match="masked model cannot be gated"):
        recovered(subject(form="mask"), spec_of({"gates": {"add": "static"}}), text)


@pytest.mark.parametrize("other", ["heads", "per_head_lr", "component_lr"])
def test_methods_about_other_parts_are_excluded(other: str, text: TrainingSet) -> None:
    with pytest.raises(UsageError, match=f"'gates' and '{other}' exclude each other"):
        recovered(_gated(), spec_of({other: {}, "gates": {}}), text)
