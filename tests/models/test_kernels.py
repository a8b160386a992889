"""Which kernels ran is known, and a compiled one is not compared with a loop in Python."""

import pytest
import torch
from transformers.models.mamba import modeling_mamba

from sentinel_research.errors import UsageError
from sentinel_research.models import check_comparable, kernels_of, use_library
from sentinel_research.models.tiny import tiny_model


@pytest.mark.parametrize(
    ("family", "kernels"),
    [
        ("mamba", {"selective_scan": "numba"}),
        ("mamba2", {"state_space_duality": "torch_chunked"}),
        ("gpt2", {"attention": "sdpa"}),
    ],
)
def test_kernels_of_a_model_are_named(family: str, kernels: dict[str, str]) -> None:
    assert kernels_of(tiny_model(family)) == kernels


def test_mamba_without_our_scan_or_off_the_cpu_runs_what_the_library_has() -> None:
    model = tiny_model("mamba")
    assert kernels_of(model.to("meta")) == {"selective_scan": "torch_loop"}
    use_library(model)
    assert kernels_of(model) == {"selective_scan": "torch_loop"}


def test_named_kernel_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spy(*arguments: object, **options: object) -> object:
        calls.append(options)
        return scan(*arguments, **options)

    scan = modeling_mamba.mamba_selective_scan
    monkeypatch.setattr(modeling_mamba, "mamba_selective_scan", spy)
    model, ids = tiny_model("mamba"), torch.zeros(1, 3, dtype=torch.long)
    model(ids)
    assert calls == []
    use_library(model)
    model(ids)
    assert len(calls) == 3
    # a function that says nothing about its implementation
    assert kernels_of(model) == {"selective_scan": "unknown"}


def test_fused_package_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    is_new_implementation = True

    def fused() -> bool:
        return is_new_implementation

    monkeypatch.setattr(modeling_mamba, "mamba_selective_scan", fused)
    assert kernels_of(tiny_model("mamba").to("meta")) == {"selective_scan": "mamba_ssm"}


@pytest.mark.parametrize(
    ("one", "other"), [("numba", "torch_loop"), ("torch_loop", "mamba_ssm")], ids=str
)
def test_compiled_kernel_is_not_compared_with_a_loop(one: str, other: str) -> None:
    with pytest.raises(UsageError, match="a loop in Python is no match") as caught:
        check_comparable({"selective_scan": one}, {"selective_scan": other})
    assert "sentinel_research.load" in caught.value.hint


def test_unknown_kernel_is_not_compared() -> None:
    with pytest.raises(UsageError, match="not known"):
        check_comparable({"selective_scan": "unknown"}, {"attention": "sdpa"})


@pytest.mark.parametrize(
    ("one", "other"),
    [("numba", "sdpa"), ("mamba_ssm", "torch_chunked"), ("torch_loop", "torch_loop")],
    ids=str,
)
def test_kernels_of_a_kind_are_compared(one: str, other: str) -> None:
    check_comparable({"mixing": one}, {"mixing": other})
