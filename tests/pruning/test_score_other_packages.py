"""Scorers of other packages: what they are given, and answers that are refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sentinel_research import registry
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import ScoringInputs, prune, score_units
from sentinel_research.pruning.score import kinds_to_score
from sentinel_research.specs import PruneSpec
from tests.pruning.subjects import CALIBRATION, subject_of


def _spec(granularity: str = "head") -> PruneSpec:
    return PruneSpec(scorer="theirs", granularity=granularity, fraction=0.4)


@pytest.fixture
def other_package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Register scorers that are gone after the test."""
    filled = registry._filled("scorers")
    monkeypatch.setitem(registry.REGISTRIES, "scorers", filled)

    def register(function: Callable[[ScoringInputs], Any], **more: Any) -> None:
        registry.scorer("theirs", summary="s", reference="r", **more)(function)

    return register


def test_scorer_of_another_package_scores_heads_unless_it_says_more(
    other_package: Callable[..., Any],
) -> None:
    def last_heads_first(inputs: ScoringInputs) -> list[Tensor]:
        return [-torch.arange(float(count)) for count in inputs.num_units]

    other_package(last_heads_first)
    model = tiny_model("gpt2")
    report = prune(model, _spec()).report
    assert report.removed == {"head": [f"L{i}H{h}" for i in range(3) for h in (3, 4)]}
    for kind in ("neuron", "kv_group", "layer"):
        with pytest.raises(UsageError, match=f"cannot score units of kind '{kind}'") as caught:
            kinds_to_score(_spec(kind))
        assert "It scores: head." in caught.value.hint


def test_scorer_of_another_package_reads_the_statistics_that_it_names(
    other_package: Callable[..., Any],
) -> None:
    def loudest(inputs: ScoringInputs) -> list[Tensor]:
        layers = inputs.required.layers("channel_moments", inputs.kind)
        return [layer[1].view(-1, inputs.structure.head_dim).amax(dim=1) for layer in layers]

    other_package(loudest, needs=("channel_moments",))
    scores = score_units(subject_of("gpt2-dense").model, _spec(), CALIBRATION)
    assert scores.errors is not None
    with pytest.raises(UsageError, match="reads calibration text"):
        score_units(subject_of("gpt2-dense").model, _spec())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: [torch.zeros(count + 1) for count in n], r"returned \[6, 6, 6\] scores of kind"),
        (lambda n: [torch.zeros(count) for count in n[:2]], r"returned \[5, 5\] scores of kind"),
        (lambda n: [torch.full((5,), math.nan)] * 3, "scored head 0 of layer 0 with nan"),
        (
            lambda n: [torch.zeros(5), torch.tensor([0, 1, 2, math.inf, 4]), torch.zeros(5)],
            "scored head 3 of layer 1 with inf",
        ),
    ],
    ids=["one_too_many", "a_layer_short", "nan", "infinite"],
)
def test_scores_that_do_not_fit_the_model_are_refused(
    other_package: Callable[..., Any],
    answer: Callable[[tuple[int, ...]], list[Tensor]],
    message: str,
) -> None:
    other_package(lambda inputs: answer(inputs.num_units))
    with pytest.raises(UsageError, match=f"scorer 'theirs' {message}"):
        score_units(subject_of("gpt2-dense").model, _spec())


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (("hessian",), "'hessian', which nothing measures"),
        (("similarity",), r"none of its statistics \(similarity\) is measured for them"),
    ],
    ids=["unknown", "for_other_kinds"],
)
def test_statistic_that_a_scorer_cannot_have_is_refused(
    other_package: Callable[..., Any], needs: tuple[str, ...], message: str
) -> None:
    other_package(lambda inputs: [], needs=needs)
    with pytest.raises(UsageError, match=message):
        score_units(subject_of("gpt2-dense").model, _spec(), CALIBRATION)
