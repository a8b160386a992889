"""Two processes do what one does: joined by gloo on the CPU; nightly, launched by accelerate."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sentinel_research.errors import UsageError
from sentinel_research.specs import TrainSpec
from sentinel_research.training.settings import check_settings
from tests.processes import Processes
from tests.recoveries.conftest import subject

# one worker has the process that starts others
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("processes")]

JOBS = Path(__file__).with_name("jobs.py")
ROOT = Path(__file__).parents[2]
# sums of float32 in another order, at a loss of about 5 nats
TOLERANCE = 1e-5


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# `--cpu` would start one process only; on which device a model is trained, its spec says
_OPTIONS = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1")
_OPTIONS += ("--mixed_precision", "no", "--dynamo_backend", "no")


def launch(*words: str, options: tuple[str, ...] = _OPTIONS) -> subprocess.CompletedProcess[str]:
    """Run a Python program in two processes."""
    port = ["--main_process_port", str(_free_port())]
    start = [sys.executable, "-m", "accelerate.commands.launch", *options, *port]
    known = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{known}"}
    return subprocess.run([*start, *words], capture_output=True, text=True, env=environment)


def _jobs() -> Any:
    found = importlib.util.spec_from_file_location("jobs", JOBS)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Path:
    """What two processes left of every job."""
    folder = tmp_path_factory.mktemp("two")
    program = f"import runpy; runpy.run_path({str(JOBS)!r}, run_name='__main__')"
    for done in processes.run_together(["python", "-c", program, str(folder)], folder):
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


# four interpreters load the libraries
@pytest.mark.slow
def test_launcher_starts_the_two_processes(two: Path, tmp_path: Path) -> None:
    done = launch(str(JOBS), str(tmp_path), "trained")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("trained-0.safetensors", "trained-1.safetensors"):
        left, right = (load_file(folder / name) for folder in (two, tmp_path))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


def _report(folder: Path, job: str, process: int) -> Any:
    return json.loads((folder / f"{job}-{process}.json").read_text())


def _comparable(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the biases of keys: their gradient is zero but for rounding, and Adam divides it by
    its own size."""
    found = {}
    for name, value in weights.items():
        queries, keys, values = value.chunk(3) if name.endswith("c_attn.bias") else (value,) * 3
        found[name] = torch.cat([queries, values]) if queries is not keys else value
    return found


@pytest.mark.parametrize("job", ["trained", "recovered"])
def test_two_processes_have_the_losses_and_weights_of_one(
    job: str, two: Path, tmp_path: Path
) -> None:
    model, one = _jobs().JOBS[job](tmp_path)
    both = _report(two, job, 0)
    for name in ("losses", "validation"):
        assert [entry["step"] for entry in both[name]] == [entry["step"] for entry in one[name]]
        for found, expected in zip(both[name], one[name], strict=True):
            assert found["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE)
    for found, expected in zip(both["losses"], one["losses"], strict=True):
        # before clipping, and far above what it is clipped to
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], abs=TOLERANCE)
        assert found["grad_norm"] > 0.05
    weights = _comparable(load_file(two / f"{job}-0.safetensors"))
    for name, value in _comparable(model.state_dict()).items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=TOLERANCE)
    for name in ("num_tokens", "flops_per_step", "kept_step", "num_trained_parameters"):
        assert both[name] == one[name]
    assert (both["num_processes"], one["num_processes"]) == (2, 1)


@pytest.mark.parametrize("job", ["trained", "recovered", "dropped"])
def test_all_processes_end_with_the_same_bits(job: str, two: Path) -> None:
    first, second = (load_file(two / f"{job}-{process}.safetensors") for process in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    left, right = (_report(two, job, process) for process in (0, 1))
    for name in ("losses", "validation", "kept_step", "stability"):
        assert left[name] == right[name]


def test_states_of_heads_move_in_all_processes_as_in_one(two: Path, tmp_path: Path) -> None:
    model, _ = _jobs().JOBS["trained"](tmp_path)
    weights = load_file(two / "trained-1.safetensors")
    names = [name for name in weights if name.endswith(("state", "num_updates"))]
    assert names
    for name in names:
        assert torch.equal(weights[name], model.state_dict()[name])
    assert any(int(weights[name].max()) > 0 for name in names)


def test_every_process_has_noise_of_its_own(two: Path) -> None:
    first, second = _report(two, "dropped", 0)["draws"]
    assert first != second


def test_what_one_process_lacks_fails_in_all(two: Path) -> None:
    for process in (0, 1):
        errors = _report(two, "disagreeing", process)["errors"]
        assert errors[0].startswith("process 1: the training split gives 2 blocks")
        assert errors[1].startswith("the training split gives 2 blocks")


def test_batch_that_the_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    spec = TrainSpec(corpus="none", num_steps=1, batch_size=12, accumulation_steps=2)
    check_settings(subject().dense, spec, 16)
    spec = spec.model_copy(update={"batch_size": 16})
    with pytest.raises(UsageError, match="cannot be divided by 3 processes") as caught:
        check_settings(subject().dense, spec, 16)
    assert "a multiple of 6" in caught.value.hint
