"""What the flags do to a run: observed in its record, not only in its recipe."""

import csv
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch

from sentinel_research.cli import main
from sentinel_research.models.layout import is_pruned, structure_of
from sentinel_research.progress import printable
from sentinel_research.pruning import baked_plan, load
from sentinel_research.record import RunRecord
from sentinel_research.specs import ModelSpec
from tests.finetune.conftest import SMALL, ran
from tests.mamba_vs_bk.conftest import merged

# one worker trains the finished run once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("finetuned")]

STEPS = ["--learning_steps", "4", "--eval_interval", "2", "--learning_rate", "0.01"]
PRUNED = "magnitude_l2-0.5+full-seed42"


def _phase(record: RunRecord, cell_id: str = PRUNED) -> dict[str, Any]:
    found = record.cell(cell_id).recover
    assert found is not None
    (phase,) = found["phases"]
    return dict(phase)


def _perplexity(record: RunRecord, cell_id: str = PRUNED) -> float:
    found = record.cell(cell_id).evaluation
    assert found is not None
    return found.measurement("sentinel_shakespeare", "token_perplexity").value


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, small_texts: Path
) -> tuple[RunRecord, Path]:
    """A drawn run with kept models, which tests only read."""
    from tests.mamba_vs_bk.conftest import use

    folder = tmp_path_factory.mktemp("finetuned")
    with pytest.MonkeyPatch.context() as patch:
        use(small_texts, patch)
        record = ran(folder, model_folder, *STEPS, "--save_checkpoints", "--visualize")
    return record, folder


def test_every_model_is_measured_before_and_after_with_its_controls(
    finished: tuple[RunRecord, Path],
) -> None:
    record, _ = finished
    assert [cell.id for cell in record.cells] == [
        "dense",
        "magnitude_l2-0.5",
        "random-0.5-seed42",
        "dense+full-seed42",
        "magnitude_l2-0.5+full-seed42",
        "random-0.5-seed42+full",
    ]
    assert all(math.isfinite(_perplexity(record, cell.id)) for cell in record.cells)
    phase = _phase(record)
    assert phase["num_steps"] == 4
    assert [entry["step"] for entry in phase["validation"]] == [2, 4]
    assert phase["kept_step"] == phase["best_step"]


def test_kept_models_are_smaller_and_load(finished: tuple[RunRecord, Path]) -> None:
    record, folder = finished
    kept = [cell.id for cell in record.cells if cell.model_folder]
    assert kept == [cell.id for cell in record.cells if cell.recover_spec]
    model = load(ModelSpec(pretrained=str(folder / str(record.cell(PRUNED).model_folder)))).model
    assert is_pruned(model.config)
    assert structure_of(model.config).num_units("head") == (2, 2)


def test_figures_hold_every_loss_and_every_mask(finished: tuple[RunRecord, Path]) -> None:
    record, folder = finished
    with (folder / "figures" / "losses.csv").open() as file:
        losses = list(csv.DictReader(file))
    own = [row for row in losses if row["cell"] == PRUNED]
    phase = _phase(record)
    for split, history in (("train", "losses"), ("validation", "validation")):
        rows = [(int(row["step"]), float(row["loss"])) for row in own if row["split"] == split]
        assert rows == [(entry["step"], entry["loss"]) for entry in phase[history]]
    with (folder / "figures" / "masks.csv").open() as file:
        masks = [row for row in csv.DictReader(file) if row["cell"] == PRUNED]
    assert len(masks) == 8
    assert sum(int(row["kept"]) for row in masks) == 4
    names = {path.name for path in (folder / "figures").glob("*.svg")}
    assert names == {
        "dense_full-seed42-whole_loss.svg",
        "magnitude_l2-0.5_full-seed42-whole_loss.svg",
        "random-0.5-seed42_full-whole_loss.svg",
        "magnitude_l2-0.5_mask.svg",
        "random-0.5-seed42_mask.svg",
    }
    for name in names:
        ET.parse(folder / "figures" / name)


@pytest.mark.usefixtures("small_mirror")
def test_verbose_prints_what_every_model_writes_at_every_look(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = [word for word in SMALL if word != "--quiet"]
    given = merged("--model_name", str(model_folder), *loud, "--output_dir", str(tmp_path))
    assert main(["finetune", *given, *STEPS, "--verbose"]) == 0
    phase = _phase(RunRecord.read(tmp_path))
    assert [sample["step"] for sample in phase["samples"]] == [0, 2, 4]
    shown = capsys.readouterr().err
    where = f"  {PRUNED}, recovery, step"
    for sample in phase["samples"]:
        text = f"{printable(sample['prompt'])} \N{RIGHTWARDS ARROW} {printable(sample['text'])}"
        assert f"{where} {sample['step']}: {text}" in shown
    for look in phase["validation"]:
        assert f"{where} {look['step']}: validation_loss {look['loss']:.4g}" in shown


@pytest.mark.usefixtures("small_mirror")
def test_level_one_computes_as_level_two_in_the_dense_layout(
    finished: tuple[RunRecord, Path], model_folder: Path, tmp_path: Path
) -> None:
    removed, folder = finished
    words = [*STEPS, "--save_checkpoints", "--optimization_level", "1"]
    dense = ran(tmp_path, model_folder, *words)
    assert _phase(dense)["losses"] == _phase(removed)["losses"]
    one, two = (
        load(ModelSpec(pretrained=str(where / str(run.cell(PRUNED).model_folder)), **options)).model
        for where, run, options in (
            (tmp_path, dense, {"shrink_baked": False}),
            (folder, removed, {}),
        )
    )
    assert not is_pruned(one.config)
    assert baked_plan(one).kept == structure_of(two.config).layers
    ids = torch.arange(40)[None]
    with torch.no_grad():
        difference = (one(ids).logits - two(ids).logits).abs().max()
    # rounding of sums with zeros in them
    assert float(difference) < 1e-5


@pytest.mark.usefixtures("small_mirror")
def test_level_zero_multiplies_by_zero_and_ends_as_level_two(
    finished: tuple[RunRecord, Path], model_folder: Path, tmp_path: Path
) -> None:
    record = ran(tmp_path, model_folder, *STEPS, "--optimization_level", "0")
    phases = _phase(record), _phase(finished[0])
    assert phases[0]["num_parameters"] > phases[1]["num_parameters"]
    # the same sums in another order, and four steps of AdamW
    assert _perplexity(record) == pytest.approx(_perplexity(finished[0]), rel=1e-3)


@pytest.mark.usefixtures("small_mirror")
def test_heads_steps_rate_seed_and_patience_reach_the_training(
    finished: tuple[RunRecord, Path], model_folder: Path, tmp_path: Path
) -> None:
    # a rate that changes no bit of a weight: no loss is lower than the first
    words = ["--learning_steps", "6", "--eval_interval", "1", "--early_stop_patience", "1"]
    words += ["--learning_rate", "1e-30", "--active_heads_only", "--seed", "3"]
    record = ran(tmp_path, model_folder, *words)
    found = _phase(record, "magnitude_l2-0.5+heads-seed3")
    plain = _phase(finished[0])
    assert found["num_trained_parameters"] < plain["num_trained_parameters"]
    assert found["num_steps"] == 2
    assert found["losses"][0]["loss"] != plain["losses"][0]["loss"]


@pytest.mark.usefixtures("small_mirror")
def test_same_command_goes_on_and_another_is_refused(
    finished: tuple[RunRecord, Path], model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, folder = finished
    again = ran(folder, model_folder, *STEPS, "--save_checkpoints", "--visualize")
    assert again.cells == record.cells
    words = merged("--model_name", str(model_folder), *SMALL, "--output_dir", str(folder))
    assert main(["finetune", *words]) == 2
    assert "holds a run of another recipe" in capsys.readouterr().err


@pytest.mark.usefixtures("small_mirror")
def test_dry_run_says_what_would_be_done_and_writes_nothing(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model_name", str(model_folder), *SMALL, "--output_dir", str(tmp_path / "out")]
    assert main(["finetune", *words, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "magnitude_l2-0.5: 4 of 8 heads" in out
    assert "magnitude_l2-0.5+full-seed42: full; " in out
    assert not (tmp_path / "out").exists()
