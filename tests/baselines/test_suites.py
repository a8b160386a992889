"""Suites of baselines: recipes that have most in common."""

from pathlib import Path

import pytest

from sentinel_research.baselines import read_suite, suites
from sentinel_research.errors import UsageError
from tests.baselines.conftest import TASK

SUITE = f"""
description: Two models.
tolerances: {{acc: {{kind: exact}}}}
common:
  model: {{dtype: float32}}
  evaluate: {{tasks: [{TASK}], limit: 5}}
models:
  A.1: {{model: {{pretrained: org/a}}}}
  b:
    model: {{pretrained: org/b, dtype: bfloat16}}
    evaluate: {{limit: 7}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "suite.yaml").write_text(SUITE)
    (tmp_path / "records").mkdir()
    return tmp_path


def test_own_keys_are_laid_over_the_common_ones_key_by_key(folder: Path) -> None:
    suite = read_suite("two", folder)
    first, second = (suite.recipe(name) for name in suite.models)
    assert (first.model.pretrained, first.model.dtype) == ("org/a", "float32")
    assert (second.model.pretrained, second.model.dtype) == ("org/b", "bfloat16")
    assert (first.evaluate.limit, second.evaluate.limit) == (5, 7)
    assert second.evaluate.tasks == [TASK]


def test_one_model_is_a_suite(folder: Path) -> None:
    (folder / "two" / "suite.yaml").write_text(SUITE.partition("  b:")[0])
    assert list(read_suite("two", folder).models) == ["A.1"]


def test_recipe_says_what_it_is_a_baseline_for(folder: Path) -> None:
    recipe = read_suite("two", folder).recipe("A.1")
    assert recipe.name == "two-a-1"
    assert recipe.baseline is not None
    assert (recipe.baseline.suite, recipe.baseline.model) == ("two", "A.1")
    assert str(recipe.baseline.tolerances["acc"]) == "exact equality"


def test_what_a_run_is_a_baseline_for_is_no_part_of_its_request(folder: Path) -> None:
    recipe = read_suite("two", folder).recipe("b")
    other = recipe.model_copy(update={"baseline": None})
    assert other.fingerprint() == recipe.fingerprint()


def test_only_folders_with_a_suite_file_are_suites(folder: Path) -> None:
    assert suites(folder) == ["two"]


@pytest.mark.parametrize("name", ["tow", "records", "../two"])
def test_unknown_suite_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no suite '{name}'") as caught:
        read_suite(name, folder)
    assert "two" in str(caught.value)


def test_unknown_model_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match="no model 'c'") as caught:
        read_suite("two", folder).recipe("c")
    assert "A.1, b" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("size: 3", "unknown key `size`"),
        ("needs: [luck]", "`needs.0` = 'luck'"),
        ("models: {../b: {}}", "models"),
        ("models: {}", "models"),
        ("description: twice", "given twice"),
    ],
    ids=["key", "need", "path", "empty", "twice"],
)
def test_wrong_suite_file_names_what_is_wrong(folder: Path, line: str, message: str) -> None:
    path = folder / "two" / "suite.yaml"
    text = SUITE if not line.startswith("models") else SUITE.partition("models:")[0]
    path.write_text(f"{text}\n{line}\n")
    with pytest.raises(UsageError, match=message):
        read_suite("two", folder)


def test_wrong_key_of_a_model_names_suite_and_model(folder: Path) -> None:
    path = folder / "two" / "suite.yaml"
    path.write_text(SUITE.replace("limit: 7", "limits: 7"))
    with pytest.raises(UsageError, match=r"two, b: unknown key `evaluate.limits`"):
        read_suite("two", folder).recipe("b")
