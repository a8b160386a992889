"""Laws of calibration: what a statistic may depend on, and what scoring may leave behind."""

import dataclasses
from typing import Any

import pytest
import torch

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.pruning.calibrate import NUM_FOLDS, Statistics, Totals, collect
from tests.pruning.conftest import (
    assert_totals,
    every_form,
    measure,
    totals_of,
)
from tests.pruning.subjects import (
    CALIBRATION,
    fresh,
    nll,
    sequences,
    subject_of,
)

LOSS_BASED = ("gate_gradient", "weight_gradients", "ablation")


def _rows(text: CalibrationSet, rows: Any) -> CalibrationSet:
    return CalibrationSet(text.ids[rows], text.is_text[rows], text.is_target[rows])


@every_form
def test_statistics_of_two_texts_add_up(name: str) -> None:
    both, first, second = (measure(name, _rows(CALIBRATION, rows)) for rows in (
        slice(None), slice(0, 2), slice(2, None)
    ))  # fmt: skip
    added = Totals(
        first.num_sequences + second.num_sequences,
        first.num_tokens + second.num_tokens,
        {
            need: [a + b for a, b in zip(layers, second.sums[need], strict=True)]
            for need, layers in first.sums.items()
        },
    )
    assert_totals(both, added)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@every_form
def test_batch_size_does_not_change_a_statistic(name: str, batch_size: int) -> None:
    assert_totals(measure(name, CALIBRATION, batch_size), totals_of(name))


@every_form
def test_order_of_the_sequences_does_not_change_a_statistic(name: str) -> None:
    shuffled = _rows(CALIBRATION, torch.tensor([3, 0, 4, 2, 1]))
    assert_totals(measure(name, shuffled, batch_size=2), totals_of(name))


@pytest.mark.parametrize("filler", [0, 33, 258], ids=["byte", "other_byte", "pad"])
@every_form
def test_what_stands_at_padding_does_not_change_a_statistic(name: str, filler: int) -> None:
    ids = torch.where(CALIBRATION.is_text, CALIBRATION.ids, filler)
    assert_totals(measure(name, dataclasses.replace(CALIBRATION, ids=ids)), totals_of(name))


@pytest.mark.parametrize("length", [10, 13, 31])
@every_form
def test_more_padding_does_not_change_a_statistic(name: str, length: int) -> None:
    ids = torch.randint(256, (5, length), generator=torch.Generator().manual_seed(7))
    is_text, is_target = torch.zeros(2, 5, length, dtype=torch.bool)
    ids[:, :9] = CALIBRATION.ids
    is_text[:, :9], is_target[:, :9] = CALIBRATION.is_text, CALIBRATION.is_target
    assert_totals(measure(name, CalibrationSet(ids, is_text, is_target)), totals_of(name))


@every_form
def test_targets_change_what_the_loss_says_and_nothing_else(name: str) -> None:
    is_target = CALIBRATION.is_text.clone()
    is_target[:, 0] = False
    every = measure(name, dataclasses.replace(CALIBRATION, is_target=is_target))
    some = totals_of(name)
    for need, layers in some.sums.items():
        pairs = list(zip(layers, every.sums[need], strict=True))
        if need[0] in LOSS_BASED:
            # all layers notice that have something whose output is not zero
            assert all(not torch.allclose(a, b, rtol=1e-3) for a, b in pairs if b.any()), need
        else:
            assert all(torch.equal(a, b) for a, b in pairs), need


def test_gradient_of_the_loss_is_that_of_the_targets_alone() -> None:
    """A target more is its token's loss more: the mean over targets, sequence by sequence."""
    subject = fresh("gpt2-dense")
    weight = subject.output(1, "attention").weight
    ids, _ = sequences()[0]
    is_target = torch.zeros(1, 9, dtype=torch.bool)
    is_target[0, [2, 7]] = True
    text = CalibrationSet(ids, torch.ones(1, 9, dtype=torch.bool), is_target)
    found = collect(subject.model, text, [("gate_gradient", "head")]).total()
    (gradient,) = torch.autograd.grad(nll(subject.model, ids, is_target[0]), weight)
    expected = (weight.detach() * gradient).double().sum(dim=1).view(5, 6).sum(dim=1)
    torch.testing.assert_close(
        found.layers("gate_gradient", "head")[1][0], expected, rtol=1e-4, atol=1e-6
    )


def test_sequence_belongs_to_the_fold_of_its_index_modulo_eight() -> None:
    ids = torch.randint(256, (19, 5), generator=torch.Generator().manual_seed(3))
    model, need = subject_of("gpt2-dense").model, ("channel_moments", "neuron")
    folds = collect(model, CalibrationSet.of(ids), [need], batch_size=3)
    assert NUM_FOLDS == folds.num_folds == 8
    assert folds.num_sequences.tolist() == [3, 3, 3, 2, 2, 2, 2, 2]
    assert folds.num_tokens.tolist() == [15, 15, 15, 10, 10, 10, 10, 10]
    for fold in (0, 2, 7):
        alone = collect(model, CalibrationSet.of(ids[fold::8]), [need]).total()
        assert_totals(folds.over([fold]), alone)


def test_fewer_sequences_than_eight_are_a_fold_each() -> None:
    folds = collect(subject_of("gpt2-dense").model, CALIBRATION, [("similarity", "ffn")])
    assert folds.num_sequences.tolist() == [1] * 5
    assert folds.num_tokens.tolist() == CALIBRATION.is_text.sum(dim=1).tolist()


def _numbered() -> Statistics:
    """Three folds whose sums are powers of ten: which were added can be read off."""
    sums = {("s", "head"): [torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.float64)]}
    return Statistics(torch.tensor([1, 2, 4]), torch.tensor([3, 5, 7]), sums)


def test_leaving_each_fold_out_leaves_the_sums_of_the_others() -> None:
    parts = _numbered().without_each()
    assert [float(part.layers("s", "head")[0]) for part in parts] == [110.0, 101.0, 11.0]
    assert [part.num_sequences for part in parts] == [6, 5, 3]
    assert [part.num_tokens for part in parts] == [12, 10, 8]


def test_halves_are_disjoint_and_together_everything() -> None:
    first, second = _numbered().halves()
    assert [float(half.layers("s", "head")[0]) for half in (first, second)] == [101.0, 10.0]
    assert [half.num_sequences for half in (first, second)] == [5, 2]
    assert float(_numbered().total().layers("s", "head")[0]) == 111.0


def test_statistic_that_is_not_kept_per_fold_is_in_the_totalonly() -> None:
    needs = [("weight_gradients", "weight"), ("similarity", "ffn")]
    folds = collect(subject_of("gpt2-dense").model, CALIBRATION, needs)
    assert folds.total().sums.keys() == set(needs)
    for part in [*folds.without_each(), *folds.halves()]:
        assert part.sums.keys() == {("similarity", "ffn")}
