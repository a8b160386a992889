"""`sentinel run` from recipe to report."""

import json
from pathlib import Path

import pytest

from sentinel_research.cell_plan import plan_cells
from sentinel_research.cli import main
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.pipeline import default_folder, run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY, values

# one worker trains the finished run once, the other has the README's examples
pytestmark = pytest.mark.xdist_group("run")

CELLS = ["dense", "random-0.5-seed0", "random-0.5-seed1", "gate_gradient-0.5"]


def test_run_measures_every_cell_and_writes_all_three_reports(finished: Path) -> None:
    record = RunRecord.read(finished)
    assert record.status == "done"
    assert [cell.id for cell in record.cells] == CELLS
    for name in ("record.json", "report.md", "report.html", "figure_sentinel_synthetic.svg"):
        assert (finished / name).stat().st_size > 0
    assert record.train is not None
    assert record.train["num_steps"] == 12
    assert record.synthetic_data


def test_record_names_data_versions_and_kept_samples(finished: Path) -> None:
    record = RunRecord.read(finished)
    assert {entry["task"] for entry in record.datasets} == {
        "sentinel_synthetic",
        "training",
        "calibration",
    }
    assert all(entry["text_sha256"] for entry in record.datasets)
    for cell in record.cells:
        assert cell.evaluation is not None
        assert cell.evaluation.num_documents == {"sentinel_synthetic": 6}
        (samples,) = cell.evaluation.samples.values()
        assert len((finished / samples).read_text().splitlines()) == 6


def test_every_cell_is_checked_for_leaks_and_shared_documents(finished: Path) -> None:
    record = RunRecord.read(finished)
    assert [check.passed for check in record.checks] == [True, True]
    for cell in record.cells:
        (check,) = cell.checks
        assert "no better than the source" in check.name
        assert check.passed


def test_removed_parameters_are_those_of_the_removed_heads(finished: Path) -> None:
    record = RunRecord.read(finished)
    report = record.cell("gate_gradient-0.5").prune
    assert report is not None
    # GPT-2: 4 * hidden * head_dim weights and 3 * head_dim biases a head; 2 of 4 heads, 2 layers
    expected = 4 * (4 * 16 * 4 + 3 * 4)
    assert report["num_parameters_before"] - report["num_parameters_after"] == expected


def test_same_recipe_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    again = run(load_recipe("demo", TINY).recipe, tmp_path / "again")
    assert values(again) == values(RunRecord.read(finished))


def test_finished_run_is_not_computed_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("sentinel_research.training.trainer.train", computed)
    monkeypatch.setattr("sentinel_research.pipeline.run_cell", computed)
    before = values(RunRecord.read(finished))
    assert values(run(load_recipe("demo", TINY).recipe, finished)) == before


def test_folder_of_another_recipe_is_refused(finished: Path) -> None:
    other = load_recipe("demo", [*TINY, "evaluate.limit=5"]).recipe
    with pytest.raises(UsageError, match="another recipe"):
        run(other, finished)
    assert default_folder(other) != default_folder(load_recipe("demo", TINY).recipe)


def test_run_with_a_cell_that_was_never_measured_is_not_done(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def skipped(*args: object) -> None:
        """Leave the cell as it is."""

    monkeypatch.setattr("sentinel_research.pipeline.run_cell", skipped)
    changes = ["train=null", f"model={{pretrained: {finished / 'model'}}}"]
    assert run(load_recipe("demo", [*TINY, *changes]).recipe, tmp_path).status == "failed"


def test_two_processes_never_share_a_folder(finished: Path) -> None:
    from filelock import FileLock

    with FileLock(finished / ".lock"), pytest.raises(UsageError, match="another process"):
        run(load_recipe("demo", TINY).recipe, finished)


def test_model_that_sees_the_future_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel_research.evaluation.adapter import SentinelLM

    def knows_everything(self: SentinelLM, requests: list[object]) -> list[float]:
        from sentinel_research.evaluation.perplexity import RollingLogLikelihood

        return [
            RollingLogLikelihood((-1.0 - index / 100,), (127,)) for index, _ in enumerate(requests)
        ]

    monkeypatch.setattr(SentinelLM, "loglikelihood_rolling", knows_everything)
    recipe = load_recipe("demo", [*TINY, "prune=null"]).recipe
    with pytest.raises(CheckFailedError, match="no better than the source"):
        run(recipe, tmp_path)
    assert not RunRecord.read(tmp_path).cell("dense").checks[0].passed


def test_calibration_on_the_evaluated_documents_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel_research.data import tasks

    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "leaky.yaml").write_text(
        "task: leaky\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"
        "custom_dataset: !function sentinel_research.data.corpora.load_task_dataset\n"
        "dataset_kwargs: {corpus: synthetic}\ntraining_split: test\ntest_split: test\n"
    )
    monkeypatch.setattr(tasks, "task_folder", lambda: folder)
    changes = ["evaluate.tasks=[leaky]", "prune.calibration={task: leaky, num_sequences: 4}"]
    with pytest.raises(CheckFailedError, match="calibration shares no document with leaky: 4 of 4"):
        run(load_recipe("demo", [*TINY, *changes]).recipe, tmp_path / "run")
    record = RunRecord.read(tmp_path / "run")
    assert [check.passed for check in record.checks] == [True, False]
    assert record.datasets[-1]["task"] == "calibration"


def test_calibration_seeds_give_cells_with_scores_of_their_own(tmp_path: Path) -> None:
    changes = [
        "prune.scorers=[gate_gradient, magnitude_l2]",
        "prune.granularity=[head, neuron]",
        "prune.calibration_seeds=[3, 5]",
        "evaluate.limit=2",
    ]
    record = run(load_recipe("demo", [*TINY, *changes]).recipe, tmp_path)
    ids = ["dense", "gate_gradient-0.5-cal3", "gate_gradient-0.5-cal5", "magnitude_l2-0.5"]
    assert [cell.id for cell in record.cells] == ids
    plans = [record.cell(cell_id).prune["plan"] for cell_id in ids[1:3]]  # type: ignore[index]
    assert plans[0]["scores"] != plans[1]["scores"]
    assert plans[0]["calibration"] != plans[1]["calibration"]


def test_failed_cell_is_recorded_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentinel_research.pruning as pruning
    from sentinel_research.errors import CheckpointError

    original = pruning.prune

    def fails_for_gate_gradient(model: object, spec: object, **options: object) -> object:
        if spec.scorer == "gate_gradient":  # type: ignore[attr-defined]
            raise CheckpointError("does not fit")
        return original(model, spec, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "prune", fails_for_gate_gradient, raising=False)
    recipe = load_recipe("demo", TINY).recipe
    record = run(recipe, tmp_path)
    assert record.status == "failed"
    assert {cell.id: cell.status for cell in record.cells} == {
        **dict.fromkeys(CELLS, "done"),
        "gate_gradient-0.5": "failed",
    }
    assert "does not fit" in (record.cell("gate_gradient-0.5").error or "")
    monkeypatch.undo()
    assert run(recipe, tmp_path).status == "done"


def test_command_prints_the_results_on_stdout_and_progress_on_stderr(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [word for override in TINY for word in ("--set", override)]
    assert main(["run", "demo", "--output", str(finished), *overrides]) == 0
    captured = capsys.readouterr()
    assert "gate_gradient" in captured.out
    assert "report.html" in captured.err
    assert main(["report", str(finished)]) == 0


def test_cells_are_the_grid_with_the_dense_model_first() -> None:
    recipe = load_recipe("demo", TINY).recipe
    assert [cell.id for cell in plan_cells(recipe)] == CELLS
    json.dumps([cell.prune.model_dump() for cell in plan_cells(recipe) if cell.prune])
