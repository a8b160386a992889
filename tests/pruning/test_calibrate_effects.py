"""What calibration costs, what it leaves behind, and what it refuses."""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models import anatomy_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning.calibrate import collect
from sentinel_research.pruning.meters import METERS
from sentinel_research.pruning.meters.inputs import ChannelMeter
from tests.pruning.conftest import (
    ABLATION,
    NEEDS,
    assert_totals,
    every_form,
    only,
    totals_of,
)
from tests.pruning.subjects import (
    CALIBRATION,
    fresh,
    subject_of,
)


class _Counter:
    """Counts forward passes of a model and backward passes through it."""

    def __init__(self, model: nn.Module) -> None:
        self.forward = self.backward = 0
        self._handles = [
            model.register_forward_pre_hook(self._count_forward),
            model.register_forward_hook(self._watch_backward),
        ]

    def _count_forward(self, *_: object) -> None:
        self.forward += 1

    def _watch_backward(self, _module: nn.Module, _args: object, output: Any) -> None:
        if output.logits.requires_grad:
            output.logits.register_hook(self._count_backward)

    def _count_backward(self, _gradient: Tensor) -> None:
        self.backward += 1

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


@pytest.mark.parametrize(
    ("needs", "num_backward"),
    [(NEEDS, 3), ([n for n in NEEDS if "gradient" not in n[0]], 0)],
    ids=["all", "without_gradients"],
)
@every_form
def test_all_statistics_together_take_one_pass_a_batch(
    name: str, needs: list[tuple[str, str]], num_backward: int
) -> None:
    subject = fresh(name)
    counter = _Counter(subject.model)
    collect(subject.model, CALIBRATION, needs, batch_size=2)
    assert (counter.forward, counter.backward) == (3, num_backward)


def test_ablation_runs_one_pass_per_unit_and_one_without() -> None:
    subject = fresh("gpt2-ragged")
    counter = _Counter(subject.model)
    collect(subject.model, CALIBRATION, [("ablation", "head")])
    assert (counter.forward, counter.backward) == (1 + 3 + 0 + 2, 0)


@every_form
def test_statistics_gathered_together_equal_those_gathered_alone(name: str) -> None:
    together = totals_of(name)
    for need in NEEDS + ABLATION:
        alone = collect(subject_of(name).model, CALIBRATION, [need], batch_size=5).total()
        # alone most run under sdpa, together all run under eager for the entropy's sake
        assert_totals(alone, only(together, need))


def _state(model: nn.Module) -> dict[str, Any]:
    return {
        "training": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "attention": model.config._attn_implementation,
    }


@every_form
def test_model_is_left_as_it_was(name: str) -> None:
    model = fresh(name).model
    model.train()
    anatomy_of(model.config).attentions(model)[1].eval()
    next(model.parameters()).requires_grad_(False)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    before = _state(model)
    collect(model, CALIBRATION, NEEDS + ABLATION, batch_size=2)
    assert _state(model) == before
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def test_model_is_left_as_it_was_when_measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh("llama-ragged").model.train()
    before = _state(model)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(METERS["attention_entropy"], "add", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        collect(model, CALIBRATION, NEEDS)
    assert _state(model) == before


def test_dropout_is_off_while_measuring() -> None:
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    needs = [("gate_gradient", "head"), ("channel_moments", "head")]
    off = collect(model, CALIBRATION, needs).total()
    assert_totals(collect(model.train(), CALIBRATION, needs).total(), off, tolerance=0.0)


@pytest.mark.parametrize("enclosing", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_gradients_are_measured_wherever_they_are_asked_for(
    enclosing: Callable[[], Any],
) -> None:
    with enclosing():
        found = collect(subject_of("gpt2-dense").model, CALIBRATION, NEEDS, batch_size=5).total()
        assert_totals(found, only(totals_of("gpt2-dense"), *NEEDS))


def test_frozen_model_has_gradients_of_its_gates_and_weights() -> None:
    subject = fresh("llama-dense")
    subject.model.requires_grad_(False)
    found = collect(subject.model, CALIBRATION, NEEDS, batch_size=5).total()
    assert_totals(found, only(totals_of("llama-dense"), *NEEDS))


@pytest.mark.parametrize("name", ["gpt2-dense", "opt-dense", "llama-ragged"])
def test_no_activation_outlives_its_batch(name: str) -> None:
    """Every storage that a module wrote is gone when the next batch begins."""
    subject = fresh(name)
    alive: list[weakref.ref] = []
    left: list[int] = []

    def begin(*_: object) -> None:
        left.append(sum(reference() is not None for reference in alive))
        alive.clear()

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            alive.append(weakref.ref(first.untyped_storage()))

    subject.model.register_forward_pre_hook(begin)
    for module in subject.model.get_submodule(
        "model" if name != "gpt2-dense" else "transformer"
    ).modules():
        module.register_forward_hook(note)
    collect(subject.model, CALIBRATION, NEEDS, batch_size=2)
    assert len(alive) > 20
    begin()
    assert left == [0, 0, 0, 0]


def _text(ids: Tensor) -> CalibrationSet:
    return CalibrationSet.of(ids)


def _edited(field: str, row: int, column: int, value: Any) -> CalibrationSet:
    changed = getattr(CALIBRATION, field).clone()
    changed[row, column] = value
    return dataclasses.replace(CALIBRATION, **{field: changed})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_text(torch.zeros(2, 1, dtype=torch.long)), "2 sequences of 1 tokens"),
        (_text(torch.zeros(0, 4, dtype=torch.long)), "0 sequences of 4 tokens"),
        (_text(torch.zeros(2, 65, dtype=torch.long)), "2 sequences of 65 tokens"),
        (_text(torch.full((2, 4), 259)), "run from 259 to 259, the model's vocabulary has 259"),
        (_text(torch.full((2, 4), -1)), "run from -1"),
        (_edited("ids", 4, 8, 300), "to 300, the model's vocabulary"),
        (_edited("is_target", 4, 1, False), "no token whose prediction counts"),
        (_edited("is_target", 4, 8, True), "a target at padding"),
        (_edited("is_text", 0, 0, False), "text after padding"),
    ],
    ids=["one_token", "none", "longer_than_context", "vocabulary", "negative", "filler",
         "no_target", "target_at_padding", "padding_on_the_left"],
)  # fmt: skip
def test_unsuitable_text_is_refused(text: CalibrationSet, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collect(subject_of("gpt2-dense").model, text, [("channel_moments", "head")])


def test_bloom_has_no_longest_sequence() -> None:
    text = _text(torch.zeros(1, 131, dtype=torch.long))
    assert collect(subject_of("bloom-gutted").model, text, [("similarity", "layer")]).num_folds == 1


def test_statistic_that_nothing_measures_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'hessian', which nothing measures\n?.*") as caught:
        collect(subject_of("gpt2-dense").model, CALIBRATION, [("hessian", "head")])
    assert all(name in str(caught.value) for name in METERS)


def test_statistic_for_a_kind_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="'similarity' is not measured for units of kind 'head'"):
        collect(subject_of("gpt2-dense").model, CALIBRATION, [("similarity", "head")])


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_that_is_not_positive_is_refused(batch_size: int) -> None:
    with pytest.raises(UsageError, match=f"batch size {batch_size} is not positive"):
        collect(subject_of("gpt2-dense").model, CALIBRATION, NEEDS, batch_size=batch_size)


def test_layer_that_was_not_measured_on_every_sequence_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A family whose attention skips its output projection must not score zeros in silence."""
    monkeypatch.setattr(ChannelMeter, "attach", lambda *_: [])
    with pytest.raises(CheckFailedError, match="channel_moments for 0 of 5 sequences"):
        collect(subject_of("gpt2-dense").model, CALIBRATION, [("channel_moments", "head")])
