"""The recover stage: what pruning took out stays out, and nothing that was given is changed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import DataError, DivergedError, UsageError
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning import remove
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.training.watch import Watch
from tests.recoveries.conftest import recovered, spec_of, subject


def _logits(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_training_a_mask_is_training_what_removal_leaves(family: str, text: TrainingSet) -> None:
    # attention's dropout draws as many numbers as there are heads
    config = {"attn_pdrop": 0.0} if family == "gpt2" else {}
    masked, removed = subject(family, config, form="mask"), subject(family, config)
    spec = spec_of(max_grad_norm=0.5)
    after = recovered(masked, spec, text).model
    expected = recovered(removed, spec, text).model
    # six AdamW steps, whose first ones divide rounding errors by gradients near zero
    torch.testing.assert_close(_logits(after), _logits(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["full", "heads"])
@pytest.mark.parametrize(
    "changes",
    [
        {"form": "mask"},
        {"form": "mask", "granularity": "neuron"},
        {"form": "mask", "granularity": "layer", "scope": "global"},
        {"granularity": "weight"},
        {"granularity": "2:4", "fraction": 0.5},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_pruning_took_out_keeps_every_bit(
    changes: dict[str, Any], method: str, text: TrainingSet
) -> None:
    # 2:4 needs widths that groups of four divide
    one = subject(config={"n_embd": 20, "n_inner": 36}, **changes)
    after = recovered(one, spec_of({method: {}}), text).model
    factors = held(one.pruned, one.plan)
    assert factors
    before = dict(one.pruned.named_parameters())
    for name, factor in factors.items():
        still = factor.expand_as(before[name]) == 0
        assert torch.equal(after.get_parameter(name)[still], before[name][still]), name
    assert not torch.equal(_logits(after), _logits(one.pruned))


def test_models_that_are_given_are_not_changed(text: TrainingSet) -> None:
    one = subject()
    before = {name: value.clone() for name, value in one.pruned.state_dict().items()}
    dense = {name: value.clone() for name, value in one.dense.state_dict().items()}
    recovered(one, spec_of(), text)
    assert all(torch.equal(value, before[name]) for name, value in one.pruned.state_dict().items())
    assert all(torch.equal(value, dense[name]) for name, value in one.dense.state_dict().items())


def test_masked_model_can_be_recovered_and_then_removed(text: TrainingSet) -> None:
    one = subject(form="mask")
    after = recovered(one, spec_of(), text).model
    with pytest.raises(UsageError, match="cannot be saved"):
        after.save_pretrained("anywhere")
    plain = subject().dense
    plain.load_state_dict(after.state_dict())
    torch.testing.assert_close(
        _logits(remove(plain, one.plan)), _logits(after), rtol=1e-4, atol=1e-4
    )


def test_only_heads_move_under_heads(text: TrainingSet) -> None:
    one = subject()
    after = recovered(one, spec_of({"heads": {}}), text).model
    moved = {
        name
        for name, value in one.pruned.named_parameters()
        if not torch.equal(value, after.get_parameter(name))
    }
    assert moved == {
        f"transformer.h.{layer}.attn.{part}"
        for layer in range(3)
        for part in ("c_attn.weight", "c_attn.bias", "c_proj.weight")
    }


def test_interrupted_recovery_ends_as_an_uninterrupted_one(
    text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, spec = subject(), spec_of()
    whole = recovered(one, spec, text, folder=tmp_path / "whole").model
    original = Watch.on_step_end

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        if state.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", fails)
        with pytest.raises(KeyboardInterrupt):
            recovered(one, spec, text, folder=tmp_path / "cut")
    again = recovered(one, spec, text, folder=tmp_path / "cut")
    assert again.report["phases"][0]["resumed"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_diverged_recovery_keeps_its_history(text: TrainingSet) -> None:
    spec = spec_of(learning_rate=1e3, max_grad_norm=0.0, num_steps=40, max_loss_ratio=1.5)
    with pytest.raises(DivergedError) as caught:
        recovered(subject(), spec, text)
    assert caught.value.report["phases"][0]["diverged"]["step"] >= 1
    assert caught.value.report["methods"] == {"full": {}}


def test_diverged_recovery_names_the_last_good_checkpoint_and_keeps_it(text: TrainingSet) -> None:
    """In a folder of nobody, too."""
    one = subject()
    calls = iter(range(1000))

    def poison(_module: Any, _args: Any, output: Any) -> Any:
        # the first call counts operations on a copy
        if next(calls) >= 5:
            output.loss = output.loss * float("nan")
        return output

    one.pruned.register_forward_hook(poison)
    with pytest.raises(DivergedError, match="is nan") as caught:
        recovered(one, spec_of(), text)
    phase = caught.value.report["phases"][0]
    kept = Path(phase["diverged"]["last_checkpoint"])
    assert str(kept) in caught.value.message
    assert (kept / "model.safetensors").exists()
    shutil.rmtree(kept.parents[1])


def test_too_little_text_for_a_batch_is_refused(text: TrainingSet) -> None:
    few = text._replace(blocks=text.blocks[:3])
    with pytest.raises(DataError, match="3 blocks of 16 tokens, fewer than one batch of 4"):
        recovered(subject(), spec_of(), few)


def test_folder_of_another_recovery_is_refused(text: TrainingSet, tmp_path: Path) -> None:
    recovered(subject(), spec_of(), text, folder=tmp_path)
    with pytest.raises(UsageError, match="another request: methods was") as caught:
        recovered(subject(), spec_of({"heads": {}}), text, folder=tmp_path)
    assert str(tmp_path) in caught.value.message
    other = subject(fraction=0.6)
    with pytest.raises(UsageError, match="another request: the pruning was"):
        recovered(other, spec_of(), text, folder=tmp_path)


def test_samples_of_a_recovery_are_in_its_report(text: TrainingSet) -> None:
    spec = spec_of(samples={"prompts": ["ab"], "every": 3, "max_new_tokens": 2})
    phase = recovered(subject(), spec, text).report["phases"][0]
    assert [one["step"] for one in phase["samples"]] == [0, 3, 6]


def test_early_stopping_ends_and_restores_the_best_weights(text: TrainingSet) -> None:
    """A rate so high that the loss only rises after its first fall."""
    spec = spec_of(
        num_steps=60,
        learning_rate=0.3,
        validate_every=1,
        keep="best",
        patience=3,
        max_loss_ratio=50,
    )
    report = recovered(subject(), spec, text).report["phases"][0]
    steps = [entry["step"] for entry in report["validation"]]
    assert steps[-1] < 60
    assert steps[-1] == report["best_step"] + 3
    assert report["validation_loss"] == min(entry["loss"] for entry in report["validation"])
