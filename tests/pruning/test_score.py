"""From a scorer's answer to scores: which kinds, which errors, and what is refused."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from sentinel_research import registry
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import ScoringInputs, plan_units, prune, score_units
from sentinel_research.pruning.calibrate import collect
from sentinel_research.pruning.meters import METERS
from sentinel_research.pruning.score import fingerprint_of, kinds_to_score, needs_of
from sentinel_research.specs import PruneSpec
from tests.pruning.subjects import CALIBRATION, KINDS, fresh, subject_of

UNIT_SCORERS = [n for n in registry.names("scorers") if n not in ("sparsegpt", "taylor_weights")]
CALIBRATED = [n for n in UNIT_SCORERS if registry.get("scorers", n).calibrated]


def _spec(scorer: str, granularity: Any = "head", **more: Any) -> PruneSpec:
    return PruneSpec(scorer=scorer, granularity=granularity, **{"fraction": 0.4, **more})


@pytest.mark.parametrize("scorer", UNIT_SCORERS)
@pytest.mark.parametrize("name", ["gpt2-gutted", "llama-ragged"])
def test_scores_are_one_finite_number_per_unit_and_deterministic(name: str, scorer: str) -> None:
    subject = subject_of(name)
    units = [kind for kind in KINDS if kind in registry.get("scorers", scorer).units]
    # kinds whose parts overlap cannot be asked for together
    kinds = tuple(kind for kind in units if kind not in ("kv_group", "layer")) or tuple(units)
    spec = _spec(scorer, kinds, scope="global", budget="parameters")
    first, second = (score_units(subject.model, spec, CALIBRATION) for _ in range(2))
    assert first.values == second.values
    assert list(first.values) == list(kinds)
    for kind, layers in first.values.items():
        assert [len(layer) for layer in layers] == subject.counts(kind)
        assert all(math.isfinite(score) for layer in layers for score in layer)


def test_kinds_are_asked_for_in_the_order_of_the_request() -> None:
    assert kinds_to_score(_spec("taylor", ("ffn", "head"), scope="global")) == ["ffn", "head"]
    mixed = _spec("random", ("neuron", "layer"), scope="global", budget="parameters")
    assert kinds_to_score(mixed) == ["neuron", "layer"]


@pytest.mark.parametrize("kind", ["kv_group", "layer"])
def test_group_and_layer_are_measured_as_such(kind: str) -> None:
    spec = _spec("taylor", kind)
    assert kinds_to_score(spec) == [kind]
    assert needs_of(spec) == [("gate_gradient", kind)]
    assert plan_units(subject_of("llama-ragged").model, spec, CALIBRATION).plan.scores.keys() == {
        kind
    }


@pytest.mark.parametrize("kind", ["weight", "2:4"])
def test_single_weights_have_no_scores_of_units(kind: str) -> None:
    spec = _spec("wanda", kind, fraction=0.5)
    assert kinds_to_score(spec) == ["weight"]
    scores = score_units(subject_of("gpt2-dense").model, spec, CALIBRATION)
    assert (scores.values, scores.errors, scores.halves) == ({}, None, None)
    assert scores.statistics is not None
    assert scores.statistics.sums.keys() == {("input_norms", "weight")}


@pytest.mark.parametrize(
    ("scorer", "kind", "scored"),
    [
        ("entropy_low", "neuron", "head, kv_group"),
        ("redundancy", "layer", "head, kv_group"),
        ("flap", "attention", "head, kv_group, neuron"),
        ("wanda", "layer", "head, kv_group, neuron, weight"),
        ("layer_influence", "kv_group", "attention, ffn, layer"),
        ("sparsegpt", "head", "weight"),
        ("taylor", "2:4", "head, kv_group, neuron, attention, ffn, layer"),
        ("taylor_weights", "ffn", "weight"),
    ],
)
def test_kind_that_a_scorer_cannot_score_is_refused_with_those_it_can(
    scorer: str, kind: str, scored: str
) -> None:
    with pytest.raises(UsageError, match=f"'{scorer}' cannot score units of kind '{kind}'") as e:
        kinds_to_score(_spec(scorer, kind, fraction=0.5))
    assert e.value.hint == f"It scores: {scored}. See: sentinel ls scorers"


@pytest.mark.parametrize("name", [f"{family}-gutted" for family in FAMILIES])
def test_first_order_change_of_a_layer_is_that_of_its_blocks_together(name: str) -> None:
    model = subject_of(name).model
    layers = score_units(model, _spec("taylor_signed", "layer"), CALIBRATION).values["layer"]
    spec = _spec("taylor_signed", ("attention", "ffn"), scope="global")
    parts = score_units(model, spec, CALIBRATION).values
    for layer, attention, ffn in zip(layers, parts["attention"], parts["ffn"], strict=True):
        # the terms may cancel
        scale = sum(map(abs, [*attention, *ffn]))
        assert sum(layer) == pytest.approx(sum(attention) + sum(ffn), abs=1e-4 * scale)


@pytest.mark.parametrize(
    "scorer", ["magnitude_l2", "layer_influence", "leave_one_out", "fisher", "gate_gradient"]
)
def test_scorer_that_knows_layers_is_asked_for_them(scorer: str) -> None:
    """Their scores of a layer are not the sum of its blocks'."""
    model = subject_of("gpt2-dense").model
    layers = score_units(model, _spec(scorer, "layer"), CALIBRATION).values["layer"]
    spec = _spec(scorer, ("attention", "ffn"), scope="global")
    parts = score_units(model, spec, CALIBRATION).values
    for layer, attention, ffn in zip(layers, parts["attention"], parts["ffn"], strict=True):
        assert layer[0] != pytest.approx(attention[0] + ffn[0], rel=1e-3)


@pytest.mark.parametrize("scorer", ["magnitude_l1", "random"])
def test_scorer_without_text_has_neither_errors_nor_a_fingerprint(scorer: str) -> None:
    model = subject_of("gpt2-dense").model
    scores = score_units(model, _spec(scorer), CALIBRATION)
    assert (scores.errors, scores.halves, scores.statistics, scores.calibration) == (None,) * 4
    assert plan_units(model, _spec(scorer), CALIBRATION).overlap is None


@pytest.mark.parametrize("scorer", ["magnitude_l1", "random"])
def test_pass_for_other_scorers_leaves_no_trace_in_a_scorer_without_text(scorer: str) -> None:
    model = subject_of("gpt2-dense").model
    shared = collect(model, CALIBRATION, needs_of(_spec("taylor")))
    scores = score_units(model, _spec(scorer), CALIBRATION, statistics=shared)
    assert (scores.errors, scores.halves, scores.statistics, scores.calibration) == (None,) * 4


def test_seconds_of_a_shared_pass_count_for_each_scorer_that_reads_it() -> None:
    model = subject_of("gpt2-dense").model
    spec = _spec("taylor")
    shared = dataclasses.replace(collect(model, CALIBRATION, needs_of(spec)), seconds=1000.0)
    scores = score_units(model, spec, CALIBRATION, statistics=shared)
    assert 1000.0 < scores.seconds < 1600.0


def test_units_that_were_named_have_no_scores() -> None:
    scores = score_units(
        subject_of("gpt2-dense").model, _spec("manual", units=("L0H1",), budget="parameters")
    )
    assert (scores.values, scores.statistics, scores.seconds) == ({}, None, 0.0)


def test_layer_without_heads_has_statistics_of_no_heads() -> None:
    model = subject_of("gpt2-gutted").model
    (without,) = (i for i, one in enumerate(structure_of(model.config).layers) if not one.heads)
    sums = collect(model, CALIBRATION, [("head_gram", "head")]).sums
    assert sums["head_gram", "head"][without].shape[1:] == (0, 0)


@pytest.mark.parametrize("scorer", CALIBRATED)
def test_scores_from_a_shared_pass_equal_those_from_a_pass_alone(scorer: str) -> None:
    model = subject_of("llama-ragged").model
    kind = registry.get("scorers", scorer).units[0]
    spec = _spec(scorer, kind, scope="global")
    shared = collect(model, CALIBRATION, [*needs_of(_spec("fisher")), *needs_of(spec)])
    alone, together = (
        score_units(model, spec, CALIBRATION, statistics=given) for given in (None, shared)
    )
    # the same attention kernel ran, in the same batches
    assert (alone.values, alone.errors) == (together.values, together.errors)
    assert alone.calibration == together.calibration


def test_compensation_measures_means_for_a_scorer_without_text() -> None:
    spec = _spec("magnitude_l1", compensate="bias")
    scores = score_units(subject_of("gpt2-dense").model, spec, CALIBRATION)
    assert scores.statistics is not None
    assert scores.statistics.sums.keys() == {
        ("channel_moments", "head"),
        ("channel_moments", "neuron"),
    }
    assert scores.calibration is not None
    assert (scores.errors, scores.halves) == (None, None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec("taylor"), "scorer 'taylor' reads calibration text"),
        (_spec("sparsegpt", "weight"), "scorer 'sparsegpt' reads calibration text"),
        (_spec("random", compensate="bias"), "`compensate: bias` reads calibration text"),
    ],
    ids=["scorer", "solver", "compensation"],
)
def test_text_that_is_needed_and_missing_is_asked_for(spec: PruneSpec, message: str) -> None:
    with pytest.raises(UsageError, match=f"{message}, and none was given") as caught:
        score_units(subject_of("gpt2-dense").model, spec)
    assert "Set `calibration` in the pruning spec" in caught.value.hint


@pytest.mark.parametrize("scorer", CALIBRATED)
def test_calibrated_scorer_called_without_text_is_refused(scorer: str) -> None:
    plugin = registry.get("scorers", scorer)
    inputs = ScoringInputs(model=subject_of("gpt2-dense").model, kind=plugin.units[0])
    with pytest.raises(UsageError, match="needs calibration text"):
        plugin(inputs)


def test_fingerprint_follows_tokens_padding_targets_and_request() -> None:
    plain, text = _spec("taylor"), CALIBRATION
    asked = _spec("taylor", calibration={"corpus": "synthetic", "seed": 1})
    other_ids, is_text, is_target = text.ids.clone(), text.is_text.clone(), text.is_target.clone()
    other_ids[0, 0] += 1
    is_text[0, 8] ^= True
    is_target[0, 8] ^= True
    found = [
        fingerprint_of(plain, text),
        fingerprint_of(asked, text),
        fingerprint_of(plain, CalibrationSet(other_ids, text.is_text, text.is_target)),
        fingerprint_of(plain, CalibrationSet(text.ids, is_text, text.is_target)),
        fingerprint_of(plain, CalibrationSet(text.ids, text.is_text, is_target)),
    ]
    assert len(set(found)) == len(found)
    assert fingerprint_of(plain, text) == found[0]
    assert fingerprint_of(plain, None) is None


def test_model_that_is_not_finite_is_refused_before_anything_is_removed() -> None:
    subject = fresh("gpt2-dense")
    with torch.no_grad():
        subject.output(1, "attention").weight[0, 0] = math.nan
    with pytest.raises(UsageError, match="'magnitude_l1' scored head 0 of layer 1 with nan"):
        prune(subject.model, _spec("magnitude_l1"))


def test_every_statistic_is_read_by_a_scorer_that_comes_with_the_package() -> None:
    read = {need for n in registry.names("scorers") for need in registry.get("scorers", n).needs}
    assert read == set(METERS)


@pytest.mark.parametrize("scorer", ["random", "magnitude_l2", "wanda"])
def test_quantised_model_is_refused_before_it_is_scored(scorer: str) -> None:
    model = tiny_model("gpt2")
    model.config.quantization_config = {"quant_method": "any"}
    with pytest.raises(UsageError, match="weights are quantised"):
        score_units(model, _spec(scorer), CALIBRATION)
