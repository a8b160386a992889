"""Units that a person names: to a plan, from one, and through a recipe."""

import pytest
from pydantic import ValidationError
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import make_plan, prune, remove
from sentinel_research.pruning.named import (
    named_plan,
    named_units,
    names_of,
    plan_without,
    share_of,
)
from sentinel_research.specs import PruneGrid, PruneSpec

pytestmark = pytest.mark.xdist_group("named")

UNITS = ("L0H1-2", "L0N3", "L1.attention", "L1N5-36", "L2.ffn")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model("gpt2")


def _spec(model: PreTrainedModel, units: tuple[str, ...] = UNITS, **changes: object) -> PruneSpec:
    structure = structure_of(model.config)
    share = share_of(plan_without(structure, named_units(structure, units)))
    content = {"scorer": "manual", "units": units, "fraction": round(share, 6)}
    return PruneSpec.model_validate({**content, "budget": "parameters", **changes})


def test_names_of_a_plan_are_those_it_was_made_of(model: PreTrainedModel) -> None:
    structure = structure_of(model.config)
    plan = plan_without(structure, named_units(structure, UNITS))
    assert plan.removed["head"] == ["L0H1", "L0H2"]
    assert names_of(plan) == UNITS


def test_a_block_that_is_gone_is_not_named_again(model: PreTrainedModel) -> None:
    pruned = remove(model, make_plan(structure_of(model.config), without={"ffn": [1]}))
    structure = structure_of(pruned.config)
    assert names_of(plan_without(structure, [("head", 1, 0)])) == ("L1H0",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("L9H0", "there is no layer 9"),
        ("L0H5", "the model has no L0H5"),
        ("L0N30-37", "the model has no L0N37"),
        ("L0H3-1", "no range"),
        ("L0N0-99999999999", "no range"),
        ("L0", "names no unit"),
        ("L0H1 ", "names no unit"),
    ],
)
def test_a_name_without_a_unit_is_refused(model: PreTrainedModel, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        named_units(structure_of(model.config), [name])


def test_named_units_are_removed_and_nothing_is_scored(model: PreTrainedModel) -> None:
    pruned, report = prune(model, _spec(model))
    assert names_of(report.plan) == UNITS
    assert report.plan.scorer == pruned.config.pruning["scorer"] == "manual"
    assert report.plan.scores is None
    assert report.num_parameters_after == pruned.num_parameters() < model.num_parameters()


def test_a_fraction_that_the_units_are_not_is_refused_with_the_right_one(
    model: PreTrainedModel,
) -> None:
    right = _spec(model).fraction
    with pytest.raises(UsageError, match=r"and the fraction says 0\.9") as caught:
        named_plan(structure_of(model.config), _spec(model, fraction=0.9))
    assert f"[{right:.6g}]" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "units"}, "needs `budget: parameters`"),
        ({"fractions": [0.1, 0.2]}, "one fraction"),
        ({"fractions": [0]}, "one fraction above 0"),
        ({"compensate": "bias"}, "leave out `compensate: bias`"),
        ({"transfer_from": "other"}, "leave out `transfer_from: other`"),
        ({"units": ["L0"]}, "should match pattern"),
        ({"scorers": ["manual"]}, "`manual` is no scorer"),
        ({"units": []}, "`scorers` names none"),
    ],
    ids=str,
)
def test_options_that_named_units_leave_no_room_for_are_refused(
    changes: dict[str, object], said: str
) -> None:
    content = {"units": ["L0H1"], "fractions": [0.1], "budget": "parameters", **changes}
    with pytest.raises(ValidationError, match=said):
        PruneGrid.model_validate(content)


def test_named_units_stand_beside_random_ones_of_the_same_share() -> None:
    grid = PruneGrid(
        units=("L0H1",), scorers=["random"], fractions=[0.1], budget="parameters", seeds=[0, 1]
    )
    cells = grid.cells({"random": True}, {"random": False})
    assert [(one.scorer, one.units) for one in cells] == [
        ("manual", ("L0H1",)),
        ("random", ()),
        ("random", ()),
    ]


def test_grids_without_named_units_keep_their_fingerprints() -> None:
    # as of the commit before units could be named
    assert PruneGrid(scorers=["random"], fractions=[0.5]).fingerprint() == "e3ac343ef1a541c4"
    assert PruneSpec(scorer="random", fraction=0.5).fingerprint() == "9045d1dfb3e2be60"
