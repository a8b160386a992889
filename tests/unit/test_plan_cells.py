"""Which cells a recipe plans, and which requests are refused before anything runs."""

import pytest

from sentinel_research.cell_plan import plan_cells
from sentinel_research.errors import UsageError
from sentinel_research.recipe import load_recipe
from sentinel_research.specs import Recipe


def _demo(*changes: str) -> Recipe:
    return load_recipe("demo", ["prune.fractions=[0, 0.5]", *changes]).recipe


def _ids(*changes: str) -> list[str]:
    return [cell.id for cell in plan_cells(_demo(*changes))]


def test_cells_are_named_by_the_seeds_they_depend_on() -> None:
    scorers = "prune.scorers=[random, magnitude_l2, taylor]"
    seeds = ["random-0.5-seed1", "random-0.5-seed2", "magnitude_l2-0.5"]
    assert _ids(scorers, "prune.seeds=[1, 2]") == ["dense", *seeds, "taylor-0.5"]
    draws = ["taylor-0.5-cal7", "taylor-0.5-cal8"]
    repeated = _ids(scorers, "prune.seeds=[1, 2]", "prune.calibration_seeds=[7, 8]")
    assert repeated == ["dense", *seeds, *draws]


def test_one_calibration_seed_is_named_too() -> None:
    assert _ids("prune.scorers=[taylor]", "prune.calibration_seeds=[7]")[1:] == ["taylor-0.5-cal7"]


@pytest.mark.parametrize(
    ("scorers", "granularity", "able"),
    [
        ("[random, entropy_low]", "neuron", "random"),
        ("[random, layer_influence]", "[head, neuron]", "random"),
        # unquoted, YAML reads 2:4 as 124
        ("[random, gate_gradient]", "'2:4'", "wanda"),
        ("[random, sparsegpt]", "kv_group", "entropy_low"),
    ],
)
def test_scorer_of_other_units_is_refused_with_those_that_can(
    scorers: str, granularity: str, able: str
) -> None:
    changes = [f"prune.scorers={scorers}", f"prune.granularity={granularity}"]
    with pytest.raises(UsageError, match="cannot score") as caught:
        plan_cells(_demo(*changes))
    refused = scorers.strip("[]").split(", ")[1]
    assert f"the scorer '{refused}'" in caught.value.message
    names = caught.value.hint.removeprefix("scorers that can: ").split(", ")
    assert able in names
    assert refused not in names


@pytest.mark.parametrize(
    ("scorer", "granularity"),
    [("entropy_low", "kv_group"), ("taylor", "layer"), ("wanda", "2:4")],
)
def test_units_that_are_made_of_others_need_only_scores_of_those(
    scorer: str, granularity: str
) -> None:
    changes = [f"prune.scorers=[{scorer}]", f"prune.granularity='{granularity}'"]
    assert len(plan_cells(_demo(*changes))) == 2


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["prune.scorers=[random, gate_gradient]"], "the scorer 'gate_gradient'"),
        (["prune.scorers=[random]", "prune.compensate=bias"], "`compensate: bias`"),
    ],
)
def test_missing_calibration_is_refused_before_anything_runs(changes: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=f"{what} reads calibration text"):
        plan_cells(_demo(*changes, "prune.calibration=null"))


def test_fractions_that_differ_in_the_last_digit_are_cells_of_their_own() -> None:
    fractions = "prune.fractions=[0.3333331, 0.3333332, 0.5, 1.0]"
    ids = _ids("prune.scorers=[magnitude_l2]", fractions)[1:]
    assert ids == [f"magnitude_l2-{share}" for share in ("0.3333331", "0.3333332", "0.5", "1")]


def test_two_prunings_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentinel_research import registry

    plugin = registry.scorer("b-random", summary="x", reference="none", seeded=True)(lambda _: [])
    variants = "prune.variants={a: {scorers: [b-random]}, a-b: {scorers: [random]}}"
    real = registry.get

    def get(group: str, name: str) -> registry.Plugin:
        return plugin if name == "b-random" else real(group, name)

    monkeypatch.setattr(registry, "get", get)
    with pytest.raises(UsageError, match=r"both called 'a-b-random-0\.5-seed0'"):
        plan_cells(_demo(variants, "prune.seeds=[0]"))


RECOVER = "recover={train: {corpus: synthetic, num_steps: 2}, seeds: [3, 4]}"


def test_recovery_comes_with_its_controls() -> None:
    """The dense model on the same budget, and random masks that nobody asked for."""
    cells = plan_cells(_demo("prune.scorers=[taylor]", "prune.seeds=[3]", RECOVER))
    assert [cell.id for cell in cells] == [
        "dense",
        "taylor-0.5",
        "random-0.5-seed3",
        "random-0.5-seed4",
        "dense+full-seed3",
        "dense+full-seed4",
        "taylor-0.5+full-seed3",
        "taylor-0.5+full-seed4",
        "random-0.5-seed3+full",
        "random-0.5-seed4+full",
    ]
    seeds = [cell.recover.train.seed for cell in cells if cell.recover is not None]
    assert seeds == [3, 4, 3, 4, 3, 4]


def test_every_budget_has_a_dense_control_of_its_own() -> None:
    variants = "recover.variants={a: {}, b: {methods: {heads: {}}}, c: {train: {num_steps: 5}}}"
    dense = [cell for cell in plan_cells(_demo(RECOVER, variants)) if cell.prune is None]
    assert [cell.id for cell in dense] == [
        "dense",
        *["dense+full-seed3", "dense+full-seed4"],
        *["dense+full-c-seed3", "dense+full-c-seed4"],
    ]
    assert [cell.recover.train.num_steps for cell in dense if cell.recover] == [2, 2, 5, 5]
    assert all(cell.recover.methods == {"full": {}} for cell in dense if cell.recover)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recover.methods={fulll: {}}", "unknown recovery 'fulll'"),
        ("recover.methods={full: {rate: 1}}", "rate"),
        ("recover.variants={one: {methods: {heads: {speed: 2}}}}", "speed"),
    ],
)
def test_recovery_that_does_not_exist_is_refused_before_anything_runs(
    change: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_cells(_demo(RECOVER, change))
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_method_that_costs_quality_runs_on_the_dense_model_too() -> None:
    variants = "recover.variants={a: {}, b: {methods: {full: {}, quantise: {bits: 4}}}}"
    cells = plan_cells(_demo("prune.scorers=[magnitude_l2]", RECOVER, variants))
    dense = [cell for cell in cells if cell.prune is None and cell.recover is not None]
    assert [cell.id for cell in dense] == [
        "dense+full-seed3", "dense+full-seed4", "dense+b-seed3", "dense+b-seed4",
    ]  # fmt: skip
    assert [list(cell.recover.methods) for cell in dense[2:] if cell.recover] == [
        ["full", "quantise"]
    ] * 2


@pytest.mark.parametrize(
    ("when", "has_dense"), [("scores", False), ("before", True), ("after", True), ("joint", True)]
)
def test_dense_model_is_rounded_once_where_that_makes_it_another(
    when: str, has_dense: bool
) -> None:
    scorers = "prune.scorers=[magnitude_l2, random]"
    found = _ids(scorers, f"prune.quantise={{bits: 4, when: {when}}}", "prune.seeds=[1, 2]")
    zero = ["magnitude_l2-0"] if has_dense else []
    expected = ["dense", *zero, "magnitude_l2-0.5", "random-0.5-seed1", "random-0.5-seed2"]
    assert found == expected
    # all random masks of nothing are one
    first = _ids("prune.scorers=[random]", f"prune.quantise={{bits: 4, when: {when}}}",
                 "prune.seeds=[1, 2]")  # fmt: skip
    assert [cell for cell in first if cell.startswith("random-0-")] == (
        ["random-0-seed1"] if has_dense else []
    )
