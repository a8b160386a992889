"""Two processes that each hold a part of the weights (FSDP) do what one does with all of them."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sentinel_research.cli.listing import listing
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import tiny_model
from sentinel_research.recoveries.methods import check_divided
from sentinel_research.specs import AgencySpec, StatePolicy, TrainSpec
from sentinel_research.training.sharded import check_divided as check_training
from tests.distributed.test_two_processes import (
    JOBS,
    TOLERANCE,
    _comparable,
    _jobs,
    _report,
    launch,
)
from tests.processes import Processes

pytestmark = pytest.mark.xdist_group("processes")
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
LAUNCH = Path(str(files("sentinel_research"))) / "launch"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Path:
    """What two processes left of every job that they shared."""
    folder = tmp_path_factory.mktemp("divided")
    program = f"import runpy; runpy.run_path({str(JOBS)!r}, run_name='__main__')"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FSDP.items():
            patch.setenv(name, value)
        for done in processes.run_together(["python", "-c", program, str(folder)], folder):
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def divides(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As a launcher of two processes that divide weights sets the variables."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    "job", ["gated", "recovered", "resolvent", "mamba", "distilled", "sparse", "adapted"]
)
@pytest.mark.long
def test_parts_have_the_losses_and_weights_of_the_whole(
    job: str, two: Path, tmp_path: Path
) -> None:
    model, one = _jobs().DIVIDED[job](tmp_path)
    both = _report(two, job, 0)
    for name in ("losses", "validation"):
        assert [entry["step"] for entry in both[name]] == [entry["step"] for entry in one[name]]
        for found, expected in zip(both[name], one[name], strict=True):
            assert found["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE)
    for found, expected in zip(both["losses"], one["losses"], strict=True):
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=TOLERANCE)
    for name in ("num_tokens", "flops_per_step", "kept_step", "num_trained_parameters"):
        assert both[name] == one[name]
    weights = _comparable(load_file(two / f"{job}-0.safetensors"))
    for name, value in _comparable(model.state_dict()).items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=TOLERANCE)
        # what pruning took out is not near to what it was, it is that
        assert torch.equal(weights[name] == 0, value == 0)


@pytest.mark.parametrize("job", ["gated", "distilled", "adapted"])
def test_all_processes_end_with_all_weights(job: str, two: Path) -> None:
    first, second = (load_file(two / f"{job}-{process}.safetensors") for process in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_interrupted_training_in_parts_goes_on_exactly(two: Path) -> None:
    whole, again = (load_file(two / f"{job}-0.safetensors") for job in ("gated", "resumed"))
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert _report(two, "resumed", 0)["resumed"]
    assert not _report(two, "gated", 0)["resumed"]


def test_checkpoint_of_parts_is_a_folder_that_transformers_loads(two: Path) -> None:
    (folder,) = (two / "distilled-checkpoints" / "phase0").glob("checkpoint-*")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    expected = load_file(two / "distilled-0.safetensors")
    widths = {tuple(layer.attn.c_proj.weight.shape) for layer in loaded.transformer.h}
    assert len(widths) > 1
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_each_process_keeps_half_of_the_moments(two: Path) -> None:
    (folder,) = (two / "mamba-checkpoints").glob("checkpoint-*")
    assert not list(folder.glob("optimizer.*"))
    parts = [load_file(folder / f"optimizer_{process}.safetensors") for process in (0, 1)]
    sizes = [sum(value.numel() for value in part.values()) for part in parts]
    steps = sum(value.ndim == 0 for value in parts[0].values())
    assert sum(sizes) - 2 * steps == 2 * _report(two, "mamba", 0)["num_parameters"]
    # rows of odd numbers
    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FSDP_VERSION", "1", "FSDP version 2, and the launcher says 1"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "fsdp_cpu_ram_efficient_loading: true"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params: true"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing: true"),
    ],
)
def test_settings_of_the_launcher_that_do_not_apply_are_refused(
    name: str, value: str, said: str, divides: pytest.MonkeyPatch
) -> None:
    divides.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        check_training(tiny_model("gpt2"), TrainSpec(corpus="none", num_steps=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "fp16"}, "`train.precision` = fp16"),
        ({"compile": True}, "`train.compile`"),
    ],
)
def test_training_that_needs_whole_weights_is_refused(
    change: dict[str, Any], said: str, divides: pytest.MonkeyPatch
) -> None:
    model, spec = tiny_model("gpt2"), TrainSpec(corpus="none", num_steps=1, **change)
    with pytest.raises(UsageError, match=said):
        check_training(model, spec)
    divides.setenv("ACCELERATE_USE_FSDP", "false")
    check_training(model, spec)


@pytest.mark.usefixtures("divides")
def test_gates_whose_states_move_are_refused_in_parts() -> None:
    model = add_agency(tiny_model("gpt2"), AgencySpec(gate="static", policy=StatePolicy()))
    with pytest.raises(UsageError, match="`policy`"):
        check_training(model, TrainSpec(corpus="none", num_steps=1))


@pytest.mark.parametrize(
    "methods", [{"gradual": {}}, {"quantise": {"when": "throughout"}}], ids=str
)
def test_methods_that_read_whole_weights_in_training_are_refused(
    methods: dict[str, dict[str, Any]], divides: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="FSDP divides them"):
        check_divided(methods)
    divides.setenv("WORLD_SIZE", "1")
    check_divided(methods)


def test_listing_says_where_the_shipped_configurations_are() -> None:
    paths = [Path(line.split()[0]) for line in listing("launch")]
    assert {path.stem for path in paths} == {"ddp", "fsdp", "fsdp-cpu"}
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("name", ["fsdp", "fsdp-cpu", "ddp"])
def test_shipped_configuration_says_what_is_needed(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = LAUNCH / f"{name}.yaml"
    given = yaml.safe_load(path.read_text())
    found = load_config_from_file(str(path))
    assert str(found.distributed_type).rpartition(".")[2] == given["distributed_type"]
    assert found.use_cpu == (name == "fsdp-cpu")
    if name != "ddp":
        assert found.fsdp_config["fsdp_version"] == 2
        assert not any(value for key, value in found.fsdp_config.items() if key != "fsdp_version")


# four interpreters load the libraries
@pytest.mark.slow
def test_launcher_divides_weights_by_the_shipped_configuration(two: Path, tmp_path: Path) -> None:
    config = ["--config_file", str(LAUNCH / "fsdp-cpu.yaml")]
    done = launch(*config, str(JOBS), str(tmp_path), "mamba", options=())
    assert done.returncode == 0, done.stderr[-3000:]
    left, right = (load_file(folder / "mamba-0.safetensors") for folder in (two, tmp_path))
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert json.loads((tmp_path / "mamba-0.json").read_text())["num_processes"] == 2
