"""Recovery in phases: what trains when, at which rate, in which batches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from tests.recoveries.conftest import (
    LENGTH,
    assert_held,
    assert_resumes_exactly,
    changed,
    recovered,
    spec_of,
    subject,
)

CRITICAL = {"name": "first", "share": 0.5, "trains": "critical_heads"}
ALL = {"name": "then", "share": 0.5, "batch_factor": 2, "learning_rate_factor": 0.1}


def test_three_phases_by_default(text: TrainingSet) -> None:
    spec = spec_of({"progressive": {}}, num_steps=20, schedule="constant", warmup_fraction=0)
    report = recovered(subject(), spec, text).report
    phases = report["phases"]
    assert [one["name"] for one in phases] == ["recovery", "refinement", "stabilisation"]
    assert [one["num_steps"] for one in phases] == [6, 10, 1]
    # the tokens of one training of twenty steps of four sequences
    assert sum(one["num_tokens"] for one in phases) == 20 * 4 * (LENGTH - 1)
    assert [one["losses"][0]["learning_rate"] for one in phases] == pytest.approx(
        [0.01, 0.003, 0.001]
    )
    trained = [one["num_trained_parameters"] for one in phases]
    assert trained[0] < trained[1] == trained[2] == phases[0]["num_parameters"]
    # five of nine heads: half, rounded up
    assert sum(report["progressive"]["num_critical_heads"]) == 5
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("form", ["remove", "mask"])
def test_critical_heads_alone_move_in_a_phase_of_theirs(form: str, text: TrainingSet) -> None:
    one = subject(form=form)
    methods = {"progressive": {"critical_fraction": 0.2, "phases": [{**CRITICAL, "share": 1.0}]}}
    found = recovered(one, spec_of(methods), text)
    # two of nine heads
    counts = found.report["progressive"]["num_critical_heads"]
    assert sum(counts) == 2
    assert changed(one.pruned, found.model) == {
        f"transformer.h.{layer}.attn.{part}"
        for layer, count in enumerate(counts)
        if count
        for part in ("c_attn.weight", "c_attn.bias", "c_proj.weight")
    }
    assert_held(one, found.model)
    moved = [
        found.model.get_parameter(name) != one.pruned.get_parameter(name)
        for name in changed(one.pruned, found.model)
        if name.endswith("c_proj.weight")
    ]
    # six rows a head, of thirty columns each
    assert sum(int(rows.any(dim=1).sum()) for rows in moved) == 2 * 6


def test_phase_of_all_heads_is_the_method_heads(text: TrainingSet) -> None:
    one, spec = subject(), {"phases": [{**CRITICAL, "share": 1.0, "trains": "heads"}]}
    found = recovered(one, spec_of({"progressive": spec}), text).model
    assert not changed(recovered(one, spec_of({"heads": {}}), text).model, found)


@pytest.mark.parametrize("at", [2, 4])
def test_interrupted_phase_goes_on_exactly(
    at: int, text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of({"progressive": {"phases": [CRITICAL, ALL]}}, num_steps=8)
    # four steps of four, two of eight
    assert_resumes_exactly(subject(), spec, text, tmp_path, monkeypatch, at)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": [CRITICAL]}, "shares of `phases` sum to 0.5"),
        ({"phases": [CRITICAL, {**ALL, "name": "first"}]}, "two phases have the same name"),
        ({"phases": []}, "phases"),
        ({"critical_fraction": 0}, "critical_fraction"),
        ({"phases": [{**CRITICAL, "trains": "neurons"}]}, "trains"),
    ],
)
def test_phases_that_make_no_sense_are_refused(
    options: dict[str, Any], message: str, text: TrainingSet
) -> None:
    with pytest.raises(UsageError, match=message):
        recovered(subject(), spec_of({"progressive": options}), text)


@pytest.mark.parametrize("other", [{"lora": {}}, {"gates": {"add": "static"}}], ids=str)
def test_phases_of_heads_need_heads_that_train(other: Any, text: TrainingSet) -> None:
    with pytest.raises(UsageError, match="'recovery' trains critical_heads, and") as caught:
        recovered(subject(), spec_of({**other, "progressive": {}}), text)
    assert "train `all`" in caught.value.hint


def test_every_phase_restores_its_best_weights(text: TrainingSet) -> None:
    spec = spec_of(
        {"progressive": {"phases": [CRITICAL, ALL]}}, num_steps=12, validate_every=2, keep="best"
    )
    phases = recovered(subject(), spec, text).report["phases"]
    for one in phases:
        assert one["validation_loss"] == min(entry["loss"] for entry in one["validation"])
    assert torch.tensor([one["num_steps"] for one in phases]).tolist() == [6, 3]
