"""What `sentinel bench mamba` compares, at a size whose times mean nothing."""

from pathlib import Path

import pytest
import torch

from sentinel_research.bench import mamba as bench
from sentinel_research.bench.mamba import BOUNDS, bench_mamba, check_speed, train
from sentinel_research.bench.models import mamba
from sentinel_research.bench.schema import MambaSection, SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.cli import main
from sentinel_research.errors import UsageError
from sentinel_research.models import kernels_of
from sentinel_research.timing import Sample, compare

pytestmark = pytest.mark.long


@pytest.fixture
def _without_mambapy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_research.models.kernels.is_mambapy_available", lambda: False)


def _pretend(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Transformers' own mixers say that another kernel runs."""

    def pretended(model: object) -> dict[str, str]:
        found = kernels_of(model)
        return found if "numba" in found.values() else {"selective_scan": name}

    monkeypatch.setattr(bench, "kernels_of", pretended)


@pytest.mark.usefixtures("_without_mambapy")
def test_rehearsal_compares_forward_passes_and_says_what_it_could_not(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    words = ["bench", "mamba", "--size", "tiny", "--pairs", "2", "--output", str(path)]
    assert main(words) == 0
    section = SpeedFile.model_validate_json(path.read_text()).mamba
    assert section is not None
    (forward,) = section.comparisons
    assert (forward.name, forward.alternative) == ("forward", "transformers' eager loop")
    assert section.kernels == {"ours": "numba", "forward": "torch_loop"}
    assert "sentinel-research[peers]" in section.not_measured["forward_backward"]
    assert section.model.num_heads is None
    assert section.checks == ()
    assert any("x [" in line and "as fast as transformers' eager loop" in line
               for line in lines_of(section))  # fmt: skip


def test_with_mambapy_both_passes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_loop_one_peer(model: object) -> dict[str, str]:
        found = kernels_of(model)
        asked = model.config.use_mambapy
        return {"selective_scan": "mambapy"} if asked else found

    monkeypatch.setattr(bench, "kernels_of", one_loop_one_peer)
    section: MambaSection = bench_mamba("tiny", "cpu", 2)
    assert [one.name for one in section.comparisons] == ["forward", "forward_backward"]
    assert section.kernels == {
        "ours": "numba",
        "forward": "torch_loop",
        "forward_backward": "mambapy",
    }
    assert section.not_measured == {}


def test_training_pass_computes_gradients_of_all_parameters_and_keeps_none() -> None:
    model, seen = mamba("tiny"), set()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda one: seen.add(id(one)))
    train(model, torch.zeros(1, 5, dtype=torch.long))
    assert seen == {id(parameter) for parameter in model.parameters()}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", BOUNDS)
def test_speed_below_the_bound_fails(name: str) -> None:
    for factor, passed in ((1.01, True), (0.99, False)):
        theirs = [Sample(factor * BOUNDS[name], 1.0)] * 3
        found = compare(name, ("m", [Sample(1.0, 1.0)] * 3), ("a", theirs))
        assert check_speed(found).passed is passed


def test_loop_that_is_no_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, "mamba_ssm")
    with pytest.raises(UsageError, match="runs Mamba by mamba_ssm here"):
        bench_mamba("tiny", "cpu", 2)


def test_scan_is_measured_on_the_cpu_only() -> None:
    with pytest.raises(UsageError, match="runs on the CPU, not on 'cuda'"):
        bench_mamba("tiny", "cuda", 2)
