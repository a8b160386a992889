"""Agency while training: what is measured, when states move, and that nothing else moves them."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.agency import HeadState, HeadStatistics, gated_layers, head_states
from sentinel_research.models.agency.consent import withdraw_consent
from sentinel_research.models.entropy import normalised_entropy
from sentinel_research.models.layout import attention_windows
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning import make_plan, remove
from sentinel_research.pruning.head_statistics import measure_heads, update_heads
from sentinel_research.specs import GateMode, StatePolicy, TrainSpec
from sentinel_research.training import expected_l0, train, trainer
from tests.models.agency import MODES, disturb, gated, ids_of

every_family = pytest.mark.parametrize("family", FAMILIES)
BLOCKS = np.random.default_rng(0).integers(0, 250, (40, 12))
STEPS = TrainSpec(corpus="none", num_steps=10, sequence_length=12, batch_size=4, seed=3)


def _measure(model: PreTrainedModel, text: CalibrationSet) -> list[HeadStatistics]:
    return [found for _, found in measure_heads(model, text)]


def _assert_close(left: HeadStatistics, right: HeadStatistics) -> None:
    for name, a, b in zip(left._fields, left, right, strict=True):
        # float32 sums of a batch of another shape; all three are at most 1
        assert torch.allclose(a, b, atol=2e-5), name


@every_family
@pytest.mark.parametrize("mode", MODES)
def test_alignment_is_the_normalised_gradient_of_a_gate(family: str, mode: GateMode) -> None:
    model = disturb(gated(family, mode))
    ids = ids_of(model, 1, 9)
    for place, found in measure_heads(model, CalibrationSet.of(ids)):
        seen: list[Tensor] = []
        # a second gate behind the first one, whose gradient is <output, dL/d output>
        scale = torch.ones(place.gate.num_heads, requires_grad=True)

        def hook(_module: nn.Module, _args: object, out: Tensor, scale=scale, seen=seen) -> Tensor:
            out.retain_grad()
            seen.append(out)
            return (out.unflatten(-1, (len(scale), -1)) * scale[:, None]).flatten(-2)

        handle = place.gate.register_forward_hook(hook)
        logits = model(ids).logits
        handle.remove()
        loss = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
        (slope,) = torch.autograd.grad(loss, [scale], retain_graph=True)
        loss.backward()
        (out,) = seen
        norms = [
            t.detach().unflatten(-1, (len(scale), -1)).square().sum(dim=(0, 1, 3)).sqrt()
            for t in (out, out.grad)
        ]
        expected = torch.where(norms[0] > 0, -slope / (norms[0] * norms[1]), 0)
        # cosines of float32 sums of 54 terms
        assert torch.allclose(found.alignment, expected, atol=1e-4)


@every_family
def test_usage_is_the_share_of_the_norms_of_the_heads_outputs(family: str) -> None:
    model = disturb(gated(family))
    ids = ids_of(model, 2, 9)
    row, dim = anatomy_of(model.config), structure_of(model.config).head_dim
    for place, found in measure_heads(model, CalibrationSet.of(ids)):
        seen: list[Tensor] = []
        handle = place.gate.register_forward_hook(lambda _m, _a, out, seen=seen: seen.append(out))
        model(ids)
        handle.remove()
        weight = place.output.get_parameter("weight").detach()
        rows = weight if row.output_axis == 0 else weight.T
        norms = torch.stack(
            [
                (seen[0].detach()[..., h * dim : (h + 1) * dim] @ rows[h * dim : (h + 1) * dim])
                .double()
                .norm()
                for h in range(place.gate.num_heads)
            ]
        )
        assert torch.allclose(found.usage.double(), norms / norms.sum(), atol=1e-5)
        assert float(found.usage.sum()) == pytest.approx(1, abs=1e-5)


@every_family
def test_utilisation_is_one_less_the_normalised_entropy(family: str) -> None:
    model = disturb(gated(family))
    ids = ids_of(model, 2, 9)
    windows = attention_windows(model.config)
    found = _measure(model, CalibrationSet.of(ids))
    model.set_attn_implementation("eager")
    attentions = model(ids, output_attentions=True).attentions
    is_text = torch.ones(2, 9, dtype=torch.bool)
    for layer, one in enumerate(found):
        entropy = normalised_entropy(attentions[layer].detach(), is_text, windows[layer])
        assert torch.allclose(one.utilisation.double(), 1 - entropy.mean(dim=0), atol=1e-6)
        assert one.utilisation.min() >= 0


@every_family
def test_padding_enters_no_statistic(family: str) -> None:
    model = disturb(gated(family))
    short = CalibrationSet.of(ids_of(model, 2, 6))
    padded = CalibrationSet(*(nn.functional.pad(t, (0, 3)) for t in dataclasses.astuple(short)))
    for left, right in zip(_measure(model, short), _measure(model, padded), strict=True):
        _assert_close(left, right)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom"])
def test_statistics_do_not_depend_on_the_multiplier_of_the_heads_own_layer(family: str) -> None:
    model = disturb(gated(family))
    text = CalibrationSet.of(ids_of(model, 2, 9))
    last = structure_of(model.config).num_layers - 1
    before = _measure(model, text)[last]
    withdraw_consent(model, [(last, 1)])
    after = _measure(model, text)[last]
    assert torch.equal(before.utilisation, after.utilisation)
    assert torch.equal(before.usage, after.usage)
    assert float(after.alignment[1].abs()) > 0, "a withdrawn head can still be seen to be of use"


def test_closed_head_has_no_direction_and_no_usage() -> None:
    model = gated("gpt2")
    gated_layers(model, model.config)[1].gate.offset.data[2] = -1.0
    found = _measure(model, CalibrationSet.of(ids_of(model, 2, 9)))[1]
    assert float(found.alignment[2]) == 0
    assert float(found.usage[2]) == 0
    assert all(values.isfinite().all() for values in found)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_frozen_and_pruned_models_are_measured_too(family: str) -> None:
    model = gated(family)
    pruned = remove(model, make_plan(structure_of(model.config), [[], [0, 1, 2], [3, 4]]))
    text = CalibrationSet.of(ids_of(model, 2, 9))
    free = _measure(pruned, text)
    assert [len(found.usage) for found in free] == [3, 2]
    pruned.requires_grad_(False)
    for left, right in zip(free, _measure(pruned, text), strict=True):
        _assert_close(left, right)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = disturb(gated("llama", skips=True)).train()
    before = copy.deepcopy(model.state_dict())
    measure_heads(model, CalibrationSet.of(ids_of(model, 2, 9)))
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_states_are_not_updated_in_evaluation() -> None:
    model = gated("gpt2", policy=StatePolicy())
    with pytest.raises(UsageError, match="frozen in evaluation"):
        update_heads(model, CalibrationSet.of(ids_of(model, 2, 9)))


def _train(model: PreTrainedModel, folder: Path) -> dict[str, object]:
    return train(model.train(), STEPS, BLOCKS, folder)[1]


def test_training_moves_states_on_update_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = StatePolicy(every=4, num_sequences=3, misalign_below=0.9, realign_above=0.95)
    model = gated("gpt2", policy=policy)
    seen: list[tuple[int, int]] = []
    gate = gated_layers(model, model.config)[0].gate
    model.register_forward_hook(
        lambda *_: seen.append((int(gate.num_updates[0]), int(gate.state.ne(0).sum())))
    )
    report = _train(model, tmp_path)
    # one pass that counts operations, 4 of training, one of the update, 4, another update, 2
    assert [updates for updates, _ in seen] == [0] * 6 + [1] * 5 + [2] * 2
    assert seen[5][1] == 0
    assert seen[6][1] > 0
    assert set(head_states(model).values()) == {HeadState.MISALIGNED}
    assert report["agency"]["num_heads"]["misaligned"] == 15


def test_training_without_a_policy_measures_nothing(tmp_path: Path) -> None:
    model = gated("gpt2")
    _train(model, tmp_path)
    assert all(not place.gate.num_updates.any() for place in gated_layers(model, model.config))
    assert any(place.gate.offset.ne(0).any() for place in gated_layers(model, model.config))


def test_operators_lock_survives_training(tmp_path: Path) -> None:
    policy = StatePolicy(every=2, num_sequences=2, withdraw_below=0, return_above=0)
    model = gated("gpt2", policy=policy)
    withdraw_consent(model, [(1, 3)])
    _train(model, tmp_path)
    found = [head for head, s in head_states(model).items() if s is HeadState.WITHDRAWN]
    assert found == [(1, 3)]


def test_penalty_closes_hard_concrete_gates(tmp_path: Path) -> None:
    found = []
    for name, penalty in (("free", 0.0), ("penalised", 5.0)):
        model = gated("gpt2", "hard_concrete", l0_penalty=penalty)
        _train(model, tmp_path / name)
        found.append(expected_l0(model).item())
    assert found[1] < found[0]


def test_penalty_counts_once_however_batches_are_accumulated() -> None:
    model = gated("gpt2", "hard_concrete", l0_penalty=0.5)
    (callback,) = trainer.agency_callbacks(model, BLOCKS)
    callback.on_pre_optimizer_step(None, None, None, model=model)
    for place in gated_layers(model, model.config):
        share = place.gate.expected_open().detach()
        # the derivative of the logistic function
        assert torch.allclose(place.gate.offset.grad, 0.5 * share * (1 - share))


def test_plain_model_trains_without_agency(tmp_path: Path) -> None:
    from sentinel_research.models.tiny import tiny_model

    assert "agency" not in _train(tiny_model("gpt2"), tmp_path)


class _Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 7:
            raise KeyboardInterrupt


def test_interrupted_training_ends_with_the_states_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fresh() -> PreTrainedModel:
        policy = StatePolicy(every=3, num_sequences=3, misalign_below=0.0, realign_above=0.02)
        return gated("gpt2", "hard_concrete", policy=policy, l0_penalty=0.1)

    whole, parts = fresh(), fresh()
    _train(whole, tmp_path / "whole")
    usual = trainer.agency_callbacks
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "agency_callbacks", lambda *given: [*usual(*given), _Stop()])
        with pytest.raises(KeyboardInterrupt):
            _train(parts, tmp_path / "parts")
    again = fresh()
    assert _train(again, tmp_path / "parts")["resumed"]
    assert all(
        torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items()
    )
    assert gated_layers(again, again.config)[0].gate.num_updates[0] == 3
