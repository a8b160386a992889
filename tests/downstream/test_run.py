"""A downstream run: one protocol for all models, nothing chosen by what is evaluated."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sentinel_research.downstream.fine_tune as stage
from sentinel_research.cli import main
from sentinel_research.downstream import preview_downstream
from sentinel_research.errors import DivergedError, UsageError
from sentinel_research.models.load import load_stored
from sentinel_research.pipeline import run
from sentinel_research.recipe import parse
from sentinel_research.record import RunRecord
from sentinel_research.reporting.downstream.results import downstream_results
from sentinel_research.specs import ModelSpec, Recipe
from tests.downstream.conftest import FINISHED, recipe_of, reviews, write_mirror
from tests.mirrors import use

# one worker makes the finished run
pytestmark = pytest.mark.xdist_group("downstream")


def _value(record: RunRecord, cell: str, task: str, metric: str = "acc") -> float:
    evaluation = record.cell(cell).evaluation
    assert evaluation is not None
    return evaluation.measurement(task, metric).value


def test_every_model_is_measured_before_and_fine_tuned_for_every_task(
    finished: RunRecord,
) -> None:
    assert finished.status == "done"
    assert [cell.id for cell in finished.cells] == [
        "majority",
        *("gpt2-before-seed5", "gpt2-before-seed6", "resolvent-before"),
        *("sentinel_sst2-gpt2-seed5", "sentinel_sst2-gpt2-seed6"),
        *("sentinel_sst2-resolvent-seed5", "sentinel_sst2-resolvent-seed6"),
        *("sentinel_rte-gpt2-seed5", "sentinel_rte-gpt2-seed6"),
        *("sentinel_rte-resolvent-seed5", "sentinel_rte-resolvent-seed6"),
    ]


def test_majority_class_is_the_share_of_the_most_frequent_training_answer(
    finished: RunRecord,
) -> None:
    # rows 20 to 25 are good, bad, good twice... and the training documents are mostly good
    good = sum(row["label"] for row in reviews(20, 6))
    assert _value(finished, "majority", "sentinel_sst2") == pytest.approx(good / 6)
    assert _value(finished, "majority", "sentinel_rte") == 0.5


def test_rate_of_the_lowest_held_out_loss_is_chosen(finished: RunRecord) -> None:
    trained = [cell for cell in finished.cells if cell.fine_tuned_on is not None]
    for cell in trained:
        assert cell.train is not None
        assert cell.arm is not None
        losses = cell.train["held_out_losses"]
        assert set(losses) == {"1e-05", "0.01"}
        assert repr(cell.arm.learning_rate) == min(losses, key=lambda rate: losses[rate])
        assert cell.train["validation_loss"] == min(losses.values())


def test_fine_tuning_learns_the_answers(finished: RunRecord) -> None:
    """Two passes over a dozen documents take a fifth off the loss that the first step saw."""
    for cell in finished.cells:
        if cell.fine_tuned_on is not None:
            assert cell.train is not None
            assert cell.train["validation_loss"] < 0.8 * cell.train["losses"][0]["loss"]


def test_swapping_the_architecture_changes_nothing_else(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = stage.train, list[tuple[Any, ...]]()

    def spied(model: Any, spec: Any, blocks: np.ndarray, _: Path, **options: Any) -> Any:
        arrays = [blocks, *(options[name] for name in ("labels", "validation"))]
        digests = [hashlib.sha256(one.tobytes()).hexdigest() for one in arrays]
        seen.append((spec, *digests))
        return original(model, spec, blocks, _, **options)

    monkeypatch.setattr(stage, "train", spied)
    asked = {}
    for name in ("gpt2-0", "resolvent"):
        seen.clear()
        recipe = recipe_of({"model": [checkpoints[name]]}, FINISHED, epochs=1)
        record = run(recipe, tmp_path / name)
        hashes = {
            task: digest
            for cell in record.cells
            if cell.evaluation is not None
            for task, digest in cell.evaluation.task_hashes.items()
        }
        asked[name] = (tuple(seen), hashes, (record.downstream or {})["units"])
    assert asked["gpt2-0"] == asked["resolvent"]


def test_what_is_evaluated_chooses_nothing(
    checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other right answers to other questions: the same weights, bit for bit."""
    flipped = [{**row, "label": 1 - row["label"]} for row in reviews(30, 4)]
    weights = []
    for name, evaluated in (("one", None), ("two", flipped)):
        with monkeypatch.context() as patch:
            use(write_mirror(tmp_path / name, evaluated), patch)
            recipe = recipe_of(
                {"model": [checkpoints["gpt2-0"]]},
                ["sentinel_sst2"],
                learning_rates=[1e-5, 0.01],
                save_models=True,
            )
            record = run(recipe, tmp_path / name / "run")
        folder = record.cell("sentinel_sst2-model-seed0").model_folder
        source = ModelSpec(pretrained=str(tmp_path / name / "run" / str(folder)))
        weights.append(load_stored(source).model.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_group_is_averaged_over_tasks_with_models_of_their_own(finished: RunRecord) -> None:
    changed = finished.model_copy(deep=True)
    assert changed.downstream is not None
    changed.downstream["groups"] = {"both": {"tasks": FINISHED, "averages": {"score": False}}}
    group = next(one for one in downstream_results(changed) if one.task == "both")
    for score in group.scores:
        if (score.name, score.kind) == ("gpt2", "fine-tuned"):
            for seed, value in score.values.items():
                parts = [
                    _value(finished, f"{task}-gpt2-seed{seed}", task, "score") for task in FINISHED
                ]
                assert value == pytest.approx(sum(parts) / 2)
            break
    else:
        pytest.fail("no fine-tuned score")
    missing = changed.cell("sentinel_rte-gpt2-seed5")
    missing.evaluation = None
    group = next(one for one in downstream_results(changed) if one.task == "both")
    score = next(one for one in group.scores if (one.name, one.kind) == ("gpt2", "fine-tuned"))
    assert set(score.values) == {6}


def test_same_command_goes_on_after_an_interruption(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, begun = stage.train, list[str]()

    def counted(*args: Any, title: str, **rest: Any) -> Any:
        begun.append(title)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return original(*args, title=title, **rest)

    monkeypatch.setattr(stage, "train", counted)
    recipe = recipe_of({"model": [checkpoints["gpt2-0"]]}, FINISHED, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path)
    record = run(recipe, tmp_path)
    names = [f"{task}-model-seed0" for task in FINISHED]
    assert begun == [names[0], names[1], names[1]]
    assert record.status == "done"
    assert not list(tmp_path.glob("cells/*/training"))


def test_fine_tuning_that_diverges_is_recorded_and_the_others_run(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stage.train

    def fails(*args: Any, title: str, **rest: Any) -> Any:
        if "sst2" in title and "0.01" in title:
            raise DivergedError("training diverged", "lower it", {"diverged": {"step": 1}})
        if "rte" in title:
            raise DivergedError("training diverged", "lower it", {"diverged": {"step": 2}})
        return original(*args, title=title, **rest)

    monkeypatch.setattr(stage, "train", fails)
    models = {"model": [checkpoints["gpt2-0"]]}
    recipe = recipe_of(models, FINISHED, epochs=1, learning_rates=[0.001, 0.01])
    record = run(recipe, tmp_path)
    first, second = (record.cell(f"{task}-model-seed0") for task in FINISHED)
    assert first.status == "done"
    assert first.train is not None
    assert first.train["held_out_losses"]["0.01"] is None
    assert (second.status, record.status) == ("failed", "failed")
    assert second.train == {"diverged": {"step": 2}}


def test_one_model_learns_all_tasks_of_a_group_together(
    lessons: Path, checkpoints: dict[str, str]
) -> None:
    subjects = ["sentinel_mmlu_abstract_algebra", "sentinel_mmlu_anatomy"]
    recipe = recipe_of({"model": [checkpoints["gpt2-0"]]}, subjects)
    lines = "\n".join(preview_downstream(recipe.model_copy()))
    assert "sentinel_mmlu_anatomy: 4 documents to train on, 1 held out; 2 steps of 4" in lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"pretrained": "gpt2"}}, "leave `model.pretrained` out"),
        ({"train": {"corpus": "synthetic", "num_steps": 1}}, "leave `train` out"),
        ({"evaluate": {"tasks": ["x"]}}, "needs `evaluate.max_length`"),
        ({"evaluate": {"tasks": [], "max_length": 8}}, "needs `evaluate.tasks`"),
        (
            {"evaluate": {"tasks": ["x"], "max_length": 8, "num_fewshot": 2}},
            "leave `evaluate.num_fewshot` out",
        ),
        (
            {"downstream": {"models": {"a": ["x", "y"]}}},
            "'a' has 2 checkpoints, and `seeds` are 1",
        ),
        ({"downstream": {"models": {"A b": ["x"]}}}, "'A b' cannot be a name"),
        (
            {"downstream": {"models": {"a": ["x"]}, "together": ["glue"]}},
            "`downstream.together` names 'glue', which is none",
        ),
        (
            {"downstream": {"models": {"a": ["x"]}, "learning_rates": [0.1, -1]}},
            "`learning_rates` must be above 0",
        ),
    ],
)
def test_contradictory_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    content = {
        "name": "lessons",
        "description": "Fine-tunes.",
        "model": {},
        "downstream": {"models": {"a": ["x"]}},
        "evaluate": {"tasks": ["x"], "max_length": 8},
        **changes,
    }
    with pytest.raises(UsageError, match=message):
        parse(Recipe, content, "test")


def test_missing_checkpoint_fails_its_cells_and_says_so(lessons: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"model": [str(tmp_path / "nowhere")]}, ["sentinel_rte"])
    record = run(recipe, tmp_path / "run")
    assert record.cell("majority").status == "done"
    error = record.cell("sentinel_rte-model-seed0").error
    assert error is not None
    assert "nowhere" in error


def test_summary_names_models_before_and_after(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: lessons\ndescription: Fine-tunes.\nmodel: {}\n"
        f"downstream: {{models: {{model: ['{checkpoints['gpt2-0']}']}}, epochs: 1,\n"
        "  train: {batch_size: 4}}\n"
        "evaluate: {tasks: [sentinel_rte], max_length: 96}\n"
    )
    assert main(["run", str(path), "--quiet", "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "Answers to sentinel_rte" in out
    assert "majority class" in out
    html = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Downstream</h2>" in html
    assert "No task was evaluated" not in html


def test_every_seed_starts_from_its_own_checkpoint(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, begun = stage.train, dict[str, torch.Tensor]()

    def spied(model: Any, *args: Any, title: str, **rest: Any) -> Any:
        begun[title] = model.get_input_embeddings().weight.detach().clone()
        return original(model, *args, title=title, **rest)

    monkeypatch.setattr(stage, "train", spied)
    folders = [checkpoints["gpt2-0"], checkpoints["gpt2-1"]]
    models = {"own": folders, "same": folders[:1]}
    run(recipe_of(models, ["sentinel_rte"], epochs=1, seeds=[8, 9]), tmp_path)
    stored = [
        load_stored(ModelSpec(pretrained=one)).model.get_input_embeddings().weight
        for one in folders
    ]
    for name, which in (("own-seed8", 0), ("own-seed9", 1), ("same-seed8", 0), ("same-seed9", 0)):
        assert torch.equal(begun[f"sentinel_rte-{name}"], stored[which])
