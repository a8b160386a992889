"""Predicted losses: exact for single units, and made of the derivatives that the formula names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration import calibration_set
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.explorer.choice import Choice
from sentinel_research.explorer.effects import Effects, coarse_units
from sentinel_research.explorer.probe import Readings, begin, effects_of, read
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.progress import Silent
from sentinel_research.pruning import gate_units, load, make_plan, remove, score_units
from sentinel_research.pruning.calibrate import forward, sequence_nll
from sentinel_research.specs import CalibrationSpec, ModelSpec, PruneSpec

pytestmark = pytest.mark.xdist_group("explorer-effects")

LENGTH = 9


@pytest.fixture(scope="module")
def text() -> CalibrationSet:
    generator = torch.Generator().manual_seed(3)
    return CalibrationSet.of(torch.randint(256, (5, LENGTH), generator=generator))


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model("gpt2").double()


@pytest.fixture(scope="module")
def effects(model: PreTrainedModel, text: CalibrationSet) -> Effects:
    return effects_of(structure_of(model.config), _read(model, text))


def _read(model: PreTrainedModel, text: CalibrationSet, *, one_by_one: bool = True) -> Readings:
    readings = begin(model, text, one_by_one=one_by_one)
    read(model, text, readings, batch_size=2, progress=Silent(), kept=lambda _: None)
    return readings


def _loss(
    model: PreTrainedModel, text: CalibrationSet, **gates: dict[tuple[int, int], float]
) -> float:
    """Mean loss with some gates at other values than 1, by kind."""
    structure = structure_of(model.config)
    given = {}
    for kind, values in gates.items():
        given[kind] = [torch.ones(n, dtype=torch.float64) for n in structure.num_units(kind)]
        for (layer, unit), value in values.items():
            given[kind][layer][unit] = value
    with gate_units(model, given), torch.no_grad():
        return float(sequence_nll(forward(model, text), text).double().mean())


def _slope(
    model: PreTrainedModel,
    text: CalibrationSet,
    kind: str,
    at: tuple[int, int],
    **others: dict[tuple[int, int], float],
) -> float:
    """dL/dgate at 1 by a central difference."""
    step = 1e-3
    up, down = (
        _loss(model, text, **{**others, kind: {**others.get(kind, {}), at: 1 + sign * step}})
        for sign in (1, -1)
    )
    return (up - down) / (2 * step)


def test_one_unit_alone_is_predicted_as_leave_one_out_measures_it(
    effects: Effects, model: PreTrainedModel, text: CalibrationSet
) -> None:
    for kind in ("head", "attention", "ffn"):
        spec = PruneSpec(
            scorer="leave_one_out",
            fraction=0,
            granularity=kind,
            calibration=CalibrationSpec(corpus="synthetic"),
        )
        scores = score_units(model, spec, text)
        assert np.allclose(
            np.concatenate(effects.by_layer(kind)), np.concatenate(scores.values[kind]), atol=1e-9
        )
    predicted = effects.predict(Choice(frozenset({("head", 1, 2)})))
    assert predicted.total == predicted.alone == effects.by_layer("head")[1][2]


def test_errors_are_those_of_the_mean_over_sequences(
    effects: Effects, model: PreTrainedModel, text: CalibrationSet
) -> None:
    gained = []
    for row in range(len(text)):
        one = text.select(slice(row, row + 1))
        gained.append(_loss(model, one, head={(2, 1): 0.0}) - _loss(model, one))
    errors = effects.errors_by_layer("head")
    assert errors is not None
    assert errors[2][1] == pytest.approx(np.std(gained, ddof=1) / len(text) ** 0.5, rel=1e-6)


def test_pairs_are_what_one_units_slope_changes_when_the_other_goes(
    effects: Effects, model: PreTrainedModel, text: CalibrationSet
) -> None:
    one, other = (0, 1), (2, 3)
    at_one = _slope(model, text, "head", one, head={other: 0.0}) - _slope(model, text, "head", one)
    at_other = _slope(model, text, "head", other, head={one: 0.0}) - _slope(
        model, text, "head", other
    )
    predicted = effects.predict(Choice(frozenset({("head", *one), ("head", *other)})))
    assert predicted.pairs == pytest.approx(-(at_one + at_other) / 2, rel=1e-3)


@pytest.mark.slow
def test_pairs_bring_predictions_of_a_trained_model_nearer_to_the_truth(
    real_models: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_DATA", str(mirror))
    model, tokenizer, _ = load(ModelSpec(pretrained=str(real_models / "stories260K")))
    draw = CalibrationSpec(corpus="tinystories", num_sequences=6, sequence_length=48)
    text = calibration_set(draw, tokenizer)
    found = effects_of(structure_of(model.config), _read(model, text))
    generator, dense = np.random.default_rng(0), _loss(model, text)
    errors = []
    for _ in range(10):
        heads = {(int(layer), int(head)) for layer, head in generator.integers((5, 8), size=(8, 2))}
        true = _loss(model, text, head=dict.fromkeys(heads, 0.0)) - dense
        predicted = found.predict(Choice(frozenset(("head", *one) for one in heads)))
        errors.append((abs(predicted.alone - true), abs(predicted.total - true)))
    alone, together = np.mean(errors, axis=0)
    assert together < 0.9 * alone


def test_a_neuron_counts_with_its_gradient_and_its_fisher_information(
    effects: Effects, model: PreTrainedModel, text: CalibrationSet
) -> None:
    scores = {
        name: score_units(
            model,
            PruneSpec(
                scorer=name,
                fraction=0,
                granularity="neuron",
                calibration=CalibrationSpec(corpus="synthetic"),
            ),
            text,
        ).values["neuron"]
        for name in ("taylor_signed", "fisher")
    }
    # of each sequence all tokens but the first are targets
    expected = np.add(scores["taylor_signed"], (LENGTH - 1) * np.array(scores["fisher"]))
    assert np.allclose(effects.by_layer("neuron"), expected, rtol=1e-5, atol=1e-9)
    assert effects.errors_by_layer("neuron") is None


def test_a_head_that_goes_changes_what_a_neuron_counts(
    effects: Effects, model: PreTrainedModel, text: CalibrationSet
) -> None:
    head, neuron = (0, 1), (1, 4)
    change = _slope(model, text, "neuron", neuron, head={head: 0.0}) - _slope(
        model, text, "neuron", neuron
    )
    found = effects.predict(Choice(frozenset({("head", *head), ("neuron", *neuron)})))
    alone = effects.by_layer("neuron")[neuron[0]][neuron[1]]
    assert found.neurons - alone == pytest.approx(-change, rel=1e-3)


def test_parts_of_a_block_that_is_gone_are_not_counted_again(effects: Effects) -> None:
    block = Choice(frozenset({("attention", 1, 0), ("ffn", 0, 0)}))
    parts = Choice(block.gone | {("head", 1, 0), ("head", 1, 3), ("neuron", 0, 7)})
    assert effects.predict(parts) == effects.predict(block)
    assert parts.counts == {"attention": 1, "ffn": 1}


def test_nothing_gone_gains_nothing(effects: Effects) -> None:
    assert effects.predict(Choice()).total == 0


def test_gradients_alone_are_a_second_order_expansion(
    model: PreTrainedModel, text: CalibrationSet
) -> None:
    readings = _read(model, text, one_by_one=False)
    found = effects_of(structure_of(model.config), readings)
    assert len(readings["losses"]) == 1
    assert not found.is_measured
    spec = {"fraction": 0, "calibration": CalibrationSpec(corpus="synthetic")}
    first, second = (
        np.array(score_units(model, PruneSpec(scorer=name, **spec), text).values["head"])
        for name in ("taylor_signed", "fisher")
    )
    expected = first + (LENGTH - 1) * second
    assert np.allclose(found.by_layer("head"), expected, rtol=1e-5, atol=1e-9)
    # of a unit with itself there is no pair, and of two the product of their slopes
    heads = [("head", 0, 1), ("head", 2, 3)]
    slopes = [
        [_slope(model, text.select(slice(row, row + 1)), "head", one[1:]) for row in range(5)]
        for one in heads
    ]
    product = (LENGTH - 1) * np.mean(np.prod(slopes, axis=0))
    assert found.predict(Choice(frozenset(heads))).pairs == pytest.approx(product, rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_models_with_missing_parts_are_read_too(family: str, text: CalibrationSet) -> None:
    dense = tiny_model(family)
    structure = structure_of(dense.config)
    heads = [[0, 3], [1], list(structure.layers[2].heads)]
    model = remove(dense, make_plan(structure, heads, without={"ffn": [1], "attention": [2]}))
    found = effects_of(structure_of(model.config), _read(model, text))
    units = coarse_units(structure_of(model.config))
    assert ("head", 1, 1) in units
    assert ("ffn", 1, 0) not in units
    assert np.isfinite(found.alone).all()
    assert found.by_layer("neuron")[1] == []
    assert found.by_layer("attention")[2] == []


def test_reading_that_was_interrupted_goes_on_where_it_was(
    model: PreTrainedModel, text: CalibrationSet, tmp_path: Path
) -> None:
    whole = _read(model, text)
    half = {name: values.copy() for name, values in whole.items()}
    half["losses"][7:] = np.nan
    half["gradients"][7:] = half["neurons"][7:] = np.nan
    shelf = Shelf(tmp_path)
    shelf.keep(tmp_path / "half.safetensors", half)
    found = shelf.find(tmp_path / "half.safetensors")
    assert found is not None
    found["losses"][0] += 1  # what is there is not read again
    read(model, text, found, batch_size=2, progress=Silent(), kept=lambda _: None)
    assert (found["losses"][0] == whole["losses"][0] + 1).all()
    for name in ("gradients", "neurons"):
        assert np.array_equal(found[name], whole[name])
