"""`sentinel run` in two processes: one record, one report, one message."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY
from tests.distributed.test_divided import FSDP
from tests.distributed.test_two_processes import launch
from tests.processes import Processes

pytestmark = pytest.mark.long

RECOVER = [
    "prune.fractions=[0.5]",
    "prune.scorers=[magnitude_l2]",
    "prune.seeds=[0]",
    "evaluate.limit=3",
    "recover={train: {corpus: synthetic, num_steps: 4, batch_size: 4, sequence_length: 32}}",
]


def _words(folder: Path, *overrides: str) -> list[str]:
    options = [word for one in (*TINY, *RECOVER, *overrides) for word in ("--set", one)]
    return ["run", "demo", "--output", str(folder), *options]


@pytest.mark.slow
def test_command_in_two_processes_writes_one_finished_run_and_resumes_it(tmp_path: Path) -> None:
    done = launch("-m", "sentinel_research", *_words(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("magnitude_l2") > 0
    assert done.stderr.count("report: ") == 1
    record = RunRecord.read(tmp_path)
    assert record.status == "done"
    recovered = [cell for cell in record.cells if cell.recover is not None]
    assert recovered
    for cell in recovered:
        assert cell.recover is not None
        assert cell.recover["phases"][0]["num_processes"] == 2
    evaluated = [cell.evaluation for cell in record.cells]
    assert all(one is not None for one in evaluated)
    # the same command has nothing left to do, and an unfinished cell is taken up again
    last = record.cells[-1]
    last.status, last.evaluation = "started", None
    record.write(tmp_path)
    again = launch("-m", "sentinel_research", *_words(tmp_path))
    assert again.returncode == 0, again.stderr[-3000:]
    resumed = RunRecord.read(tmp_path)
    assert resumed.train == record.train
    assert resumed.cells[-1].status == "done"
    found, expected = resumed.cells[-1].evaluation, evaluated[-1]
    assert found is not None
    assert expected is not None
    assert [one.value for one in found.measurements] == [one.value for one in expected.measurements]


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_command_whose_processes_divide_the_weights_writes_one_finished_run(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    for done in processes.run_together(["sentinel", *_words(tmp_path)], tmp_path):
        assert done.returncode == 0, done.stderr[-3000:]
    record = RunRecord.read(tmp_path)
    assert record.status == "done"
    assert record.train is not None
    assert record.train["num_processes"] == 2
    assert all(cell.evaluation is not None for cell in record.cells)
    checkpoint = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert sum(one.numel() for one in checkpoint.parameters()) == record.train["num_parameters"]


@pytest.mark.xdist_group("processes")
def test_method_that_needs_whole_weights_is_refused_before_anything_is_trained(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    words = _words(tmp_path, "recover.methods={gradual: {}}")
    both = processes.run_together(["sentinel", *words], tmp_path)
    assert all(one.returncode != 0 for one in both)
    assert "error: `gradual` changes or reads whole weights" in "".join(one.stderr for one in both)
    assert not (tmp_path / "model").exists()


@pytest.mark.xdist_group("processes")
def test_wrong_command_in_two_processes_has_one_message_and_an_exit_code(
    tmp_path: Path, processes: Processes
) -> None:
    both = processes.run_together(["sentinel", *_words(tmp_path, "train.batch_size=5")], tmp_path)
    assert all(one.returncode != 0 for one in both)
    said = "".join(one.stderr for one in both)
    assert said.count("error: `train.batch_size` = 5 is of all processes together") == 1
