"""`sentinel run` killed anywhere, and resumed."""

import signal
from pathlib import Path

import pytest

from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY, values
from tests.processes import Processes

# one worker has the process that starts others
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("processes")]

# each kills the process when it enters a stage (or, for training, half way through it)
KILLS = {
    "training": "sentinel_research.training.watch.Watch.on_save",
    "saving": "sentinel_research.models.save",
    "calibration": "sentinel_research.data.calibration.calibration_set",
    "pruning": "sentinel_research.pruning.prune",
    "evaluation": "sentinel_research.evaluation.harness.evaluate",
    "report": "sentinel_research.reporting.report",
}
KILLER = """
import os, pkgutil, signal, sys
from pathlib import Path
from unittest import mock
import torch
torch.set_num_threads(1)
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

target, folder, *overrides = sys.argv[1:]
with mock.patch(target, side_effect=die):
    run(load_recipe("demo", overrides).recipe, Path(folder))
"""


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[pytest.mark.slow] if stage in ("saving", "calibration") else [])
        for stage in KILLS
    ],
)
def test_run_killed_in_a_stage_resumes_to_the_same_numbers(
    stage: str, finished: Path, tmp_path: Path, processes: Processes
) -> None:
    words = ["python", "-c", KILLER, KILLS[stage], str(tmp_path), *TINY]
    killed = processes.run(words, tmp_path.parent)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    record = run(load_recipe("demo", TINY).recipe, tmp_path)
    assert record.status == "done"
    assert values(record) == values(RunRecord.read(finished))
    if stage == "training":
        assert record.train is not None
        assert record.train["resumed"]


RECOVERY = [
    *TINY,
    "prune.fractions=[0.5]",
    "prune.scorers=[magnitude_l2]",
    "prune.seeds=[0]",
    "evaluate.limit=2",
    "recover.save_models=true",
    "recover.train={corpus: synthetic, num_steps: 6, batch_size: 4, sequence_length: 32}",
    "recover.train.samples={prompts: [''], every: 3, max_new_tokens: 3}",
]
CUT_OFF = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.training.watch import Watch

original = Watch.on_step_end

def die(self, args, state, control, **about):
    original(self, args, state, control, **about)
    # of the recoveries, the second: four steps in, one checkpoint is newer than the others
    if "magnitude" in args.output_dir and state.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)

Watch.on_step_end = die
folder, *overrides = sys.argv[1:]
run(load_recipe("demo", overrides).recipe, Path(folder))
"""


@pytest.mark.slow
def test_run_killed_in_the_middle_of_a_recovery_ends_with_the_same_bits(
    tmp_path: Path, processes: Processes
) -> None:
    recipe = load_recipe("demo", RECOVERY).recipe
    whole = run(recipe, tmp_path / "whole")
    assert whole.status == "done", [cell.error for cell in whole.cells]
    words = ["python", "-c", CUT_OFF, str(tmp_path / "cut"), *RECOVERY]
    killed = processes.run(words, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    resumed = run(recipe, tmp_path / "cut")
    assert values(resumed) == values(whole)
    (cell,) = [one for one in resumed.cells if one.id == "magnitude_l2-0.5+full-seed0"]
    assert cell.recover is not None
    assert cell.recover["phases"][0]["resumed"]
    for one in whole.cells:
        if one.recover is None:
            continue
        assert one.model_folder is not None
        weights = Path(one.model_folder) / "model.safetensors"
        left, right = (tmp_path / name / weights for name in ("whole", "cut"))
        assert left.read_bytes() == right.read_bytes(), one.id
        other = resumed.cell(one.id).recover
        assert other is not None
        assert other["phases"][0]["samples"] == one.recover["phases"][0]["samples"]
        assert not (tmp_path / "cut" / "cells" / one.id / "recovery").exists()
