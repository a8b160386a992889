"""How sure scores are: jackknife errors against slow forms and against many draws of the text."""

import math
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import Scores, plan_units, prune, score_units
from sentinel_research.specs import PruneSpec
from tests.pruning.subjects import CALIBRATION, subject_of

NUM_FOLDS = 8


def _spec(scorer: str, kind: str = "head", **more: Any) -> PruneSpec:
    return PruneSpec(scorer=scorer, fraction=0.4, granularity=kind, **more)


def _text(num_sequences: int, *, seed: int = 5, length: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num_sequences, length), generator=generator)


def _score(name: str, scorer: str, kind: str, ids: Tensor) -> Scores:
    return score_units(subject_of(name).model, _spec(scorer, kind), CalibrationSet.of(ids))


def _flat(values: dict[str, list[list[float]]]) -> list[float]:
    return [value for layers in values.values() for layer in layers for value in layer]


@pytest.mark.parametrize(
    ("scorer", "kind"),
    [
        ("gate_gradient", "head"),
        ("taylor_signed", "neuron"),
        ("fisher", "attention"),
        ("entropy_low", "head"),
        ("layer_influence", "layer"),
        ("leave_one_out", "ffn"),
        ("gate_gradient", "kv_group"),
        ("entropy_high", "kv_group"),
        ("fisher", "layer"),
    ],
)
def test_error_of_a_mean_is_the_standard_error_of_its_fold_means(scorer: str, kind: str) -> None:
    """Closed form for folds of one size: the spread of the fold means over the root of K."""
    ids = _text(16)
    found = _score("gpt2-dense", scorer, kind, ids)
    folds = [_score("gpt2-dense", scorer, kind, ids[k::NUM_FOLDS]) for k in range(NUM_FOLDS)]
    assert found.errors is not None
    for place, error in enumerate(_flat(found.errors)):
        means = [_flat(fold.values)[place] for fold in folds]
        assert _flat(found.values)[place] == pytest.approx(statistics.mean(means), rel=1e-3)
        # the spread of float32 passes of other batch shapes
        expected = statistics.stdev(means) / math.sqrt(NUM_FOLDS)
        assert error == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("num_sequences", [2, 5, 19])
@pytest.mark.parametrize(
    ("scorer", "kind"),
    [
        ("taylor", "head"),
        ("activation_norm", "neuron"),
        ("flap", "head"),
        ("redundancy", "head"),
        ("taylor", "kv_group"),
        ("redundancy", "kv_group"),
        ("taylor", "layer"),
    ],
)
def test_error_of_any_score_is_its_spread_with_one_fold_left_out_at_a_time(
    scorer: str, kind: str, num_sequences: int
) -> None:
    """Slow form: score the remaining text anew, for every fold."""
    ids = _text(num_sequences)
    found = _score("llama-ragged", scorer, kind, ids)
    count = min(NUM_FOLDS, num_sequences)
    fold_of = torch.arange(num_sequences) % count
    left = [_score("llama-ragged", scorer, kind, ids[fold_of != fold]) for fold in range(count)]
    assert found.errors is not None
    scale = max(_flat(found.errors))
    for place, error in enumerate(_flat(found.errors)):
        values = [_flat(scores.values)[place] for scores in left]
        mean = sum(values) / count
        expected = math.sqrt((count - 1) / count * sum((v - mean) ** 2 for v in values))
        assert error == pytest.approx(expected, rel=1e-3, abs=1e-4 * scale)


def test_one_sequence_has_a_score_and_no_error() -> None:
    found = _score("gpt2-dense", "taylor", "head", _text(1))
    assert found.statistics is not None
    assert (found.errors, found.halves) == (None, None)


def test_sequences_that_are_all_the_same_have_no_error() -> None:
    found = _score("gpt2-dense", "gate_gradient", "head", _text(1).expand(8, -1))
    assert found.errors is not None
    # one batch, the same kernel for every row
    assert max(_flat(found.errors)) <= 1e-6 * max(_flat(found.values))


@pytest.mark.parametrize(
    "scorer", ["gate_gradient", "taylor_signed", "activation_norm", "layer_influence"]
)
def test_reported_error_is_what_scores_spread_over_draws_of_the_text(scorer: str) -> None:
    """Sixty draws: the spread itself is known to a tenth, and so are mean errors of eight folds."""
    model = tiny_model("gpt2", n_layer=2, n_head=3, n_embd=12, n_inner=7)
    kind = "layer" if scorer == "layer_influence" else "head"
    draws = [
        score_units(model, _spec(scorer, kind), CalibrationSet.of(_text(16, seed=seed)))
        for seed in range(60)
    ]
    ratios = []
    for place in range(len(_flat(draws[0].values))):
        spread = statistics.stdev(_flat(draw.values)[place] for draw in draws)
        errors = [_flat(draw.errors or {})[place] for draw in draws]
        ratios.append(math.sqrt(statistics.mean(error**2 for error in errors)) / spread)
    # seeded; a missing or doubled factor of the root of K - 1 = 7 would be far outside
    assert 0.8 < statistics.mean(ratios) < 1.25
    assert all(0.6 < ratio < 1.7 for ratio in ratios)


def test_halves_are_the_scores_of_every_second_fold() -> None:
    ids = _text(16)
    found = _score("gpt2-dense", "taylor", "head", ids)
    assert found.halves is not None
    for half, values in enumerate(found.halves):
        chosen = torch.arange(16) % NUM_FOLDS % 2 == half
        alone = _score("gpt2-dense", "taylor", "head", ids[chosen])
        assert _flat(values) == pytest.approx(_flat(alone.values), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("scorer", ["taylor", "flap", "entropy_high", "redundancy"])
def test_selections_from_equal_halves_overlap_completely(scorer: str) -> None:
    text = CalibrationSet.of(_text(4).repeat_interleave(2, dim=0))
    assert plan_units(subject_of("gpt2-dense").model, _spec(scorer), text).overlap == 1.0


@pytest.mark.parametrize("scorer", ["taylor", "taylor_signed", "activation_norm", "wanda"])
@pytest.mark.parametrize("name", ["gpt2-dense", "llama-ragged"])
def test_overlap_is_a_share_and_reaches_the_report(name: str, scorer: str) -> None:
    report = prune(subject_of(name).model, _spec(scorer), calibration=CALIBRATION).report
    assert report.selection_overlap is not None
    assert 0.0 <= report.selection_overlap <= 1.0


def _halves(*chosen: list[float]) -> Scores:
    """Scores of five heads in each of three layers, alike in all layers."""
    first, second = ({"head": [values] * 3} for values in chosen)
    return Scores(first, first, (first, second), None, None, 0.0)


@pytest.mark.parametrize(
    ("second", "overlap"),
    [([1.0, 2.0, 3.0, 4.0, 5.0], 1.0), ([1.0, 3.0, 2.0, 4.0, 5.0], 1 / 3),
     ([5.0, 4.0, 3.0, 2.0, 1.0], 0.0)],
    ids=["same", "one_of_three", "disjoint"],
)  # fmt: skip
def test_overlap_is_common_units_over_all_units_that_either_half_removes(
    second: list[float], overlap: float
) -> None:
    scores = _halves([1.0, 2.0, 3.0, 4.0, 5.0], second)
    planned = plan_units(subject_of("gpt2-dense").model, _spec("taylor"), scores=scores)
    assert planned.overlap == overlap


def test_halves_that_remove_nothing_agree() -> None:
    scores = _halves([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0])
    spec = PruneSpec(scorer="taylor", fraction=0.0)
    assert plan_units(subject_of("gpt2-dense").model, spec, scores=scores).overlap == 1.0


@pytest.mark.parametrize("scorer", ["random", "magnitude_l2"])
def test_selection_without_text_has_no_overlap(scorer: str) -> None:
    planned = plan_units(subject_of("gpt2-dense").model, _spec(scorer), CALIBRATION)
    assert planned.overlap is None
    assert planned.plan.score_errors is None


def test_plan_carries_scores_and_errors() -> None:
    model = subject_of("gpt2-dense").model
    scores = score_units(model, _spec("taylor"), CALIBRATION)
    plan = plan_units(model, _spec("taylor"), scores=scores).plan
    assert [list(layer) for layer in plan.scores["head"]] == scores.values["head"]
    assert plan.score_errors is not None
    assert scores.errors is not None
    assert [list(layer) for layer in plan.score_errors["head"]] == scores.errors["head"]
