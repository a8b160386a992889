"""Which cells are paired, what is in the family, and how it is corrected."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sentinel_research import compare
from sentinel_research.errors import UsageError
from sentinel_research.evaluation.perplexity import weighted_perplexity
from sentinel_research.specs import JudgementSpec
from tests.judgement.folders import Metric, Task, accuracy, write_run

SPEC = JudgementSpec(num_resamples=199)


def _cell(seed: int, *tasks: str) -> dict[str, Task]:
    rng = np.random.default_rng(seed)
    return {
        task: Task(
            {
                "acc": Metric(None, rng.integers(0, 2, size=30).tolist()),
                "token_perplexity": Metric(
                    weighted_perplexity,
                    [[-float(rng.uniform(50, 60)), 20] for _ in range(30)],
                    False,
                ),
            }
        )
        for task in tasks
    }


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """A run of three cells, measured on two tasks."""
    names = ("dense", "random-0.5", "entropy-0.5")
    return write_run(
        tmp_path / "grid", {name: _cell(seed, "one", "two") for seed, name in enumerate(names)}
    )


def test_cells_of_one_run_are_named(grid: str) -> None:
    found = compare([f"{grid}:dense", f"{grid}:random-0.5", f"{grid}:entropy-0.5"], SPEC)
    assert [(one.first, one.second, one.task) for one in found.findings] == [
        (f"{grid}:dense", f"{grid}:{cell}", task)
        for cell in ("random-0.5", "entropy-0.5")
        for task in ("one", "two")
    ]


def test_cells_of_equal_names_are_pairs(grid: str, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "other", {"entropy-0.5": _cell(7, "one"), "dense": _cell(8, "one"), "x": {}}
    )
    found = compare([grid, other], SPEC.model_copy(update={"tasks": ("one",)}))
    assert [one.second for one in found.findings] == [f"{other}:dense", f"{other}:entropy-0.5"]


def test_only_cells_are_pairs_whatever_their_names(tmp_path: Path) -> None:
    names = [
        write_run(tmp_path / name, {cell: _cell(seed, "one")})
        for seed, (name, cell) in enumerate([("a", "dense"), ("b", "recovered")])
    ]
    assert compare(names, SPEC).findings[0].second == f"{names[1]}:recovered"


def test_folder_with_a_colon_in_its_name_is_a_folder(tmp_path: Path) -> None:
    names = [write_run(tmp_path / name, {"dense": _cell(0, "one")}) for name in ("a:1", "a:2")]
    assert compare(names, SPEC).findings[0].first == f"{names[0]}:dense"


def test_runs_without_a_cell_in_common_list_theirs(grid: str, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", {"x": _cell(7, "one"), "y": _cell(8, "one")})
    with pytest.raises(UsageError, match="which cells") as raised:
        compare([grid, other])
    assert "dense, random-0.5, entropy-0.5" in raised.value.hint
    assert "x, y" in raised.value.hint


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["{}:dense"], "1 model"),
        (["{}:dense", "{}:random-0.6"], "'random-0.6' is no cell of"),
        (["{}:dense", "{}/../grid:dense"], "is compared with itself"),
        (["{}:dense", "{}"], "which cells"),
    ],
    ids=["one", "unknown-cell", "itself", "open"],
)
def test_wrong_names_are_refused(grid: str, names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare([name.format(grid) for name in names])


def test_family_is_the_plotted_metric_of_each_task(grid: str) -> None:
    found = compare([f"{grid}:dense", f"{grid}:random-0.5"], SPEC)
    assert [(one.task, one.metric) for one in found.findings] == [
        ("one", "token_perplexity"),
        ("two", "token_perplexity"),
    ]
    assert found.other_metrics == {"one": ["acc"], "two": ["acc"]}


def test_tasks_and_metrics_choose_the_family(grid: str) -> None:
    spec = SPEC.model_copy(update={"tasks": ("two",), "metrics": ("acc", "token_perplexity")})
    found = compare([f"{grid}:dense", f"{grid}:random-0.5"], spec)
    assert [(one.task, one.metric) for one in found.findings] == [
        ("two", "token_perplexity"),
        ("two", "acc"),
    ]
    assert found.other_metrics == {}


def test_group_is_its_tasks(tmp_path: Path) -> None:
    names = [
        write_run(
            tmp_path / name,
            {"dense": _cell(seed, "one", "two", "three")},
            lm_eval={"group_subtasks": {"all": ["some", "three"], "some": ["two"], "one": []}},
        )
        for seed, name in enumerate("ab")
    ]
    found = compare(names, SPEC.model_copy(update={"tasks": ("all",)}))
    assert [one.task for one in found.findings] == ["two", "three"]


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (JudgementSpec(tasks=("ones",)), "no model was measured on 'ones'", "Did you mean 'one'"),
        (JudgementSpec(metrics=("accc",)), "by 'accc' on one, two", "Did you mean 'acc'"),
    ],
    ids=["task", "metric"],
)
def test_unknown_tasks_and_metrics_are_refused(
    grid: str, spec: JudgementSpec, message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        compare([f"{grid}:dense", f"{grid}:random-0.5"], spec)
    assert hint in raised.value.hint


def _won(tmp_path: Path, *counts: int) -> list[str]:
    """A reference, and models that are right on so many documents more, and never less."""
    return [
        write_run(tmp_path / str(place), {"dense": accuracy([1] * count + [0] * (40 - count))})
        for place, count in enumerate((0, *counts))
    ]


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_family_is_corrected_as_a_whole(tmp_path: Path, correction: str) -> None:
    names = _won(tmp_path, 7, 0, 6, 8)
    spec = JudgementSpec.model_validate({"num_resamples": 199, "correction": correction})
    found = compare(names, spec)
    # the second is identical with the reference: a test all the same
    assert found.num_tests == 4
    raw = [2 / 2**7, 1.0, 2 / 2**6, 2 / 2**8]
    expected = {
        "holm": [3 * raw[0], 1.0, 2 * raw[2], 4 * raw[3]],
        "bh": stats.false_discovery_control(raw).tolist(),
    }[correction]
    assert [one.evidence and one.evidence.p_adjusted for one in found.findings] == [
        pytest.approx(expected[0]),
        None,
        pytest.approx(expected[2]),
        pytest.approx(expected[3]),
    ]
    assert found.verdicts() == [
        "better",
        "not comparable",
        "no difference found" if correction == "holm" else "better",
        "better",
    ]


def test_refused_comparisons_are_not_in_the_correction(tmp_path: Path) -> None:
    names = _won(tmp_path, 6)
    few = write_run(tmp_path / "few", {"dense": accuracy([1, 0])})
    found = compare([*names, few], SPEC)
    assert found.num_tests == 1
    assert found.findings[0].evidence is not None
    assert found.findings[0].evidence.p_adjusted == 2 / 2**6


def test_more_tests_detect_only_larger_differences(tmp_path: Path) -> None:
    names = _won(tmp_path, 6, 7, 8)
    alone, of_three = (compare(chosen, SPEC).findings[0].evidence for chosen in (names[:2], names))
    assert alone is not None
    assert of_three is not None
    assert alone.detectable is not None
    assert of_three.detectable is not None
    assert alone.detectable < of_three.detectable


def test_kept_record_has_no_samples(tmp_path: Path) -> None:
    name = write_run(tmp_path / "run", {"dense": _cell(0, "one")})
    kept = tmp_path / "kept.json.xz"
    kept.write_bytes(lzma.compress((tmp_path / "run" / "record.json").read_bytes()))
    found = compare([name, str(kept)], SPEC)
    assert found.findings[0].refusal == "no samples"
    assert found.is_empty


def test_damaged_kept_record_is_refused(tmp_path: Path) -> None:
    name = write_run(tmp_path / "run", {"dense": _cell(0, "one")})
    kept = tmp_path / "kept.json.xz"
    kept.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="cannot read"):
        compare([name, str(kept)])
