"""Recipes: overrides, origins of values, and messages a person can act on."""

from pathlib import Path
from typing import get_args

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.recipe import load_recipe, shipped_recipes
from sentinel_research.specs import AgencySpec, GateMode

MINIMAL = """
name: mine
description: a recipe
model: {pretrained: folder}
evaluate: {tasks: [sentinel_ptb]}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return path


def test_override_sets_a_nested_key_and_is_named_as_its_origin(recipe_file: Path) -> None:
    resolved = load_recipe(str(recipe_file), ["evaluate.limit=3"])
    assert resolved.recipe.evaluate.limit == 3
    assert resolved.sources["evaluate.limit"] == "--set"
    assert resolved.sources["evaluate.tasks"] == "recipe mine.yaml"
    assert resolved.sources["evaluate.batch_size"] == "default"


def test_override_can_create_a_section_that_the_recipe_lacks(recipe_file: Path) -> None:
    resolved = load_recipe(str(recipe_file), ["prune.scorers=[random]", "prune.fractions=[0, 0.5]"])
    assert resolved.recipe.prune is not None
    assert resolved.recipe.prune.fractions == [0, 0.5]
    assert resolved.sources["prune.fractions"] == "--set"


def test_every_leaf_of_the_resolved_recipe_has_an_origin(recipe_file: Path) -> None:
    resolved = load_recipe(str(recipe_file))
    assert set(resolved.sources.values()) == {"recipe mine.yaml", "default"}
    assert "model.dtype" in resolved.sources


def test_unknown_key_names_the_nearest_one(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key `evaluate.limits`") as caught:
        load_recipe(str(recipe_file), ["evaluate.limits=3"])
    assert "Did you mean 'limit'" in caught.value.hint


def test_unknown_key_inside_an_optional_section_names_the_nearest_one(recipe_file: Path) -> None:
    overrides = ["prune.scorers=[random]", "prune.fractions=[0.5]", "prune.scop=global"]
    with pytest.raises(UsageError, match=r"prune.scop") as caught:
        load_recipe(str(recipe_file), overrides)
    assert "Did you mean 'scope'" in caught.value.hint


@pytest.mark.parametrize("name", ["x", "scope"])
def test_unknown_key_of_a_variant_is_named_with_what_is_accepted(
    recipe_file: Path, name: str
) -> None:
    overrides = ["prune.scorers=[random]", "prune.fractions=[0.5]"]
    with pytest.raises(
        UsageError, match=rf"unknown key `prune\.variants\.{name}\.seeds`"
    ) as caught:
        load_recipe(str(recipe_file), [*overrides, f"prune.variants={{{name}: {{seeds: [1]}}}}"])
    assert "min_per_layer" in caught.value.hint
    assert "save_models" not in caught.value.hint


@pytest.mark.parametrize(
    ("addition", "key", "line"),
    [("name: other", "name", 6), ("train: {corpus: a, corpus: b}", "corpus", 6)],
    ids=["at the top", "in a section"],
)
def test_key_that_is_given_twice_is_refused_with_its_line(
    recipe_file: Path, addition: str, key: str, line: int
) -> None:
    recipe_file.write_text(f"{MINIMAL}{addition}\n")
    with pytest.raises(UsageError, match=rf"the key `{key}` is given twice(.|\n)* line {line},"):
        load_recipe(str(recipe_file))


def test_key_that_is_given_twice_in_an_override_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match="the key `limit` is given twice"):
        load_recipe(str(recipe_file), ["evaluate={tasks: [a], limit: 1, limit: 2}"])


def test_task_that_is_named_twice_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match="`tasks` names 'sentinel_ptb' twice"):
        load_recipe(str(recipe_file), ["evaluate.tasks=[sentinel_ptb, a, sentinel_ptb]"])


def test_value_out_of_range_is_named_with_its_value(recipe_file: Path) -> None:
    with pytest.raises(
        UsageError, match=r"`evaluate.batch_size`: -1 should be .*greater than 0, or auto"
    ):
        load_recipe(str(recipe_file), ["evaluate.batch_size=-1"])


def test_batch_size_can_be_left_to_the_scorer(recipe_file: Path) -> None:
    resolved = load_recipe(str(recipe_file), ["evaluate.batch_size=auto"])
    assert resolved.recipe.evaluate.batch_size == "auto"


def test_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: x\ndescription: y\nmodel: {pretrained: z}\n")
    with pytest.raises(UsageError, match="the key `evaluate` is missing"):
        load_recipe(str(path))


@pytest.mark.parametrize("override", ["evaluate.limit", "=3", ""])
def test_override_without_key_and_value_is_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        load_recipe(str(recipe_file), [override])


def test_override_below_a_plain_value_is_refused(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match="holds a value"):
        load_recipe(str(recipe_file), ["name.first=x"])


def test_unknown_recipe_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'demoo'") as caught:
        load_recipe("demoo")
    assert "Did you mean 'demo'" in caught.value.hint


def test_missing_recipe_file_is_said_to_be_missing() -> None:
    with pytest.raises(UsageError, match=r"there is no recipe file nowhere/x\.yaml"):
        load_recipe("nowhere/x.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words"])
def test_recipe_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="mapping"):
        load_recipe(str(path))


def test_recipe_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1, 2\n")
    with pytest.raises(UsageError, match="cannot read the recipe"):
        load_recipe(str(path))


def test_calibration_on_corpus_and_task_is_refused(recipe_file: Path) -> None:
    overrides = ["prune.scorers=[random]", "prune.fractions=[0.5]"]
    calibration = "prune.calibration={corpus: ptb, task: sst2}"
    with pytest.raises(UsageError, match=r"`prune.calibration`: give exactly one of `corpus` and"):
        load_recipe(str(recipe_file), [*overrides, calibration])


def test_several_kinds_of_unit_are_a_list_in_a_recipe(recipe_file: Path) -> None:
    overrides = ["prune.scorers=[random]", "prune.fractions=[0.5]"]
    resolved = load_recipe(str(recipe_file), [*overrides, "prune.granularity=[head, neuron]"])
    assert resolved.recipe.prune is not None
    assert resolved.recipe.prune.granularity == ("head", "neuron")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipe_is_valid_and_named_like_its_file(name: str) -> None:
    assert load_recipe(name).recipe.name == name


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipe_names_scorers_that_can_score_its_units(name: str) -> None:
    from sentinel_research.cell_plan import plan_cells

    recipe = load_recipe(name).recipe
    if recipe.compare is not None:
        assert plan_cells(recipe) == []
        return
    scorers = recipe.prune.scorers if recipe.prune is not None else []
    # the dense model is a cell too
    assert len(plan_cells(recipe)) > len(scorers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["learning_rate=0"],
            r"`recover\.train\.learning_rate` = 0: input should be greater than 0",
        ),
        (["learning_rate=-0.1"], r"learning_rate` = -0\.1: input should be greater than 0"),
        (["patience=2"], r"`recover\.train`: `patience` needs `keep: best` and `validate_every`"),
        (["keep=best"], r"`recover\.train`: `keep: best` needs `validate_every`"),
        (
            ["batch_size=6", "accumulation_steps=4"],
            r"`accumulation_steps` = 4 does not divide `batch_size` = 6",
        ),
        (
            ["schedule=linear", "min_learning_rate_fraction=0.1"],
            "is for cosine and warmup_stable_decay, and `schedule` is linear",
        ),
        (
            ["samples={prompts: [a], every: 0}"],
            r"`recover\.train\.samples\.every` = 0: input should be greater than 0",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_recovery_that_makes_no_sense_is_refused_by_its_key_and_value(
    changes: list[str], message: str, recipe_file: Path
) -> None:
    begin = ["recover.train.corpus=synthetic", "recover.train.num_steps=3"]
    overrides = [*begin, *(f"recover.train.{change}" for change in changes)]
    with pytest.raises(UsageError, match=message):
        load_recipe(str(recipe_file), overrides)


def test_every_part_of_agency_is_compared_with_the_plain_model_by_a_shipped_recipe() -> None:
    compare = load_recipe("agency-ablation").recipe.compare
    assert compare is not None
    assert compare.control == "plain"
    agencies = {name: one.agency for name, one in compare.architectures.items()}
    assert agencies.pop("plain") is None
    added = [one.model_dump(exclude_defaults=True) for one in agencies.values() if one is not None]
    alone = [set(one) for one in added]
    for mode in get_args(GateMode):
        # static is the default
        assert any(AgencySpec(**one).gate == mode for one in added)
    assert {"policy"} in alone
    assert {"gate", "skips"} in alone
    assert {"gate", "baseline"} in alone
    # nothing but agency differs
    plain, *others = (
        one.model_copy(update={"agency": None}) for one in compare.architectures.values()
    )
    assert all(one == plain for one in others)
    assert len(compare.seeds) >= 3
    assert len(compare.learning_rates) >= 2
