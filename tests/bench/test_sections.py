"""What each section compares, at a size whose times mean nothing."""

import sys

import pytest
import torch

from sentinel_research.bench import memory, pruning
from sentinel_research.bench.agency import attention_of, bench_agency, check_overhead, gated
from sentinel_research.bench.calibration import (
    bench_calibration,
    check_bound,
    forward_backward,
    head_needs,
)
from sentinel_research.bench.forward import bench_forward, check_control
from sentinel_research.bench.memory import MemoryUse
from sentinel_research.bench.models import SCALES, calibration_set, gpt2, half_of_the_heads
from sentinel_research.bench.pruning import bench_pruning
from sentinel_research.bench.schema import ForwardSection
from sentinel_research.bench.show import lines_of
from sentinel_research.errors import SentinelError
from sentinel_research.timing import Action, Comparison, Sample, compare

# one worker measures the section once
pytestmark = pytest.mark.xdist_group("bench-sections")

MODES = ("prefill_all_logits", "prefill_last_logit", "decode")


def _comparison(*ratios: float) -> Comparison:
    measured = [Sample(ratio, ratio) for ratio in ratios]
    return compare("prefill/masked", ("m", measured), ("p", [Sample(1, 1)] * len(ratios)))


@pytest.fixture(scope="module")
def forward() -> ForwardSection:
    return bench_forward("tiny", "cpu", 2)


def test_calibration_collects_what_every_scorer_of_heads_reads() -> None:
    assert head_needs() == [
        (name, "head")
        for name in ("attention_entropy", "channel_moments", "gate_gradient", "head_gram")
    ]


def test_plain_pass_computes_gradients_of_all_parameters_and_keeps_none() -> None:
    model, seen = gpt2("tiny", "cpu"), set()
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda one: seen.add(id(one)))
        for parameter in model.parameters()
    ]
    forward_backward(model, calibration_set(model, "tiny"), 2)
    assert seen == {id(parameter) for parameter in model.parameters()}
    assert len(handles) == len(seen)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_calibration_is_compared_with_a_plain_pass_over_the_same_text() -> None:
    section = bench_calibration("tiny", "cpu", 2)
    (found,) = section.comparisons
    assert "forward and backward pass" in found.alternative
    assert found.num_pairs == 2
    scale = SCALES["tiny"]
    assert (section.num_sequences, section.sequence_length) == (
        scale.num_sequences,
        scale.sequence_length,
    )
    assert section.checks == ()


@pytest.mark.parametrize(("ratio", "passed"), [(1.29, True), (1.31, False)])
def test_calibration_may_cost_at_most_1_3_plain_passes(ratio: float, passed: bool) -> None:
    assert check_bound(_comparison(ratio, ratio)).passed is passed


@pytest.mark.parametrize(
    ("ratios", "passed"),
    [
        ((0.99, 1.0, 1.02), True),
        ((0.9, 1.2, 1.2), True),
        ((1.05, 1.1, 1.2), False),
        ((0.8, 0.9, 0.95), False),
    ],
    ids=["level", "noisy but around 1", "slower", "faster"],
)
def test_control_has_to_read_one_within_noise(ratios: tuple[float, ...], passed: bool) -> None:
    assert check_control(_comparison(*ratios)).passed is passed


def test_masked_control_is_compared_with_the_dense_model_in_every_mode(
    forward: ForwardSection,
) -> None:
    found = {one.name: one for one in forward.comparisons}
    assert list(found) == [
        f"{mode}/{variant}" for mode in MODES for variant in ("removed", "masked", "without_heads")
    ]
    assert {one.alternative for one in found.values()} == {"the dense model"}
    for mode in MODES:
        dense = {
            tuple(other for _, other in found[f"{mode}/{variant}"].wall_seconds)
            for variant in ("removed", "masked", "without_heads")
        }
        assert len(dense) == 1, "all variants share the dense model's times"


def test_arithmetic_stands_beside_every_speed(forward: ForwardSection) -> None:
    costs = {cost.comparison: cost for cost in forward.costs}
    assert list(costs) == [one.name for one in forward.comparisons]
    # E=32, T=24, V=300; 2 layers of 4 heads of 8, 128 neurons: multiply-adds per token
    heads, neurons, logits = 2 * 4 * (4 * 32 * 8 + 2 * 8 * 24), 2 * 2 * 32 * 128, 32 * 300
    for mode, head in zip(MODES, (logits, logits / 24, logits), strict=True):
        rest = neurons + head
        assert costs[f"{mode}/masked"].mac_ratio == 1.0
        expected = (heads / 2 + rest) / (heads + rest)
        assert costs[f"{mode}/removed"].mac_ratio == pytest.approx(expected)
        limit = rest / (heads + rest)
        assert costs[f"{mode}/without_heads"].mac_ratio == pytest.approx(limit)
        assert costs[f"{mode}/removed"].mac_ratio_without_heads == pytest.approx(limit)


def test_speeds_are_shown_as_speed_ups_beside_what_arithmetic_allows(
    forward: ForwardSection,
) -> None:
    lines = lines_of(forward)
    assert "multiply-adds allow 1.00x, without any head 1." in lines[1]
    assert "1 thread, " in lines[-1]


def test_gated_attention_is_compared_with_the_same_attention_without_gates() -> None:
    section = bench_agency("tiny", "cpu", 2)
    assert [one.name for one in section.comparisons] == [
        f"T{length}/{variant}"
        for length in SCALES["tiny"].attention_lengths
        for variant in (
            "static/at_rest",
            "static/trained",
            "input/trained",
            "hard_concrete/trained",
        )
    ]
    assert {one.alternative for one in section.comparisons} == {"the attention block without gates"}
    assert section.model.num_layers == 1
    assert section.checks == ()


def test_gates_of_the_bench_gate_the_weights_that_they_are_compared_with() -> None:
    plain = gpt2("tiny", "cpu")
    hidden = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(0))
    expected = attention_of(plain)(hidden)[0]
    assert torch.equal(attention_of(gated(plain, "static/at_rest"))(hidden)[0], expected)
    for variant in ("static/trained", "input/trained"):
        assert not torch.equal(attention_of(gated(plain, variant))(hidden)[0], expected)


@pytest.mark.parametrize(
    ("wall", "cpu", "on_cpu", "passed"),
    [(1.2, 1.04, True, True), (1.0, 1.06, True, False), (1.2, 1.0, False, False)],
    ids=["busy machine", "slow", "slow device"],
)
def test_gates_may_cost_at_most_1_05_of_attention(
    wall: float, cpu: float, on_cpu: bool, passed: bool
) -> None:
    samples = [Sample(wall, cpu)] * 3
    found = compare("T8/static/at_rest", ("m", samples), ("p", [Sample(1, 1)] * 3))
    assert check_overhead(found, on_cpu=on_cpu).passed is passed


def test_half_of_the_heads_of_every_layer_go() -> None:
    plan = half_of_the_heads(gpt2("tiny", "cpu"))
    assert [len(layer.heads) for layer in plan.kept] == [2, 2]


@pytest.mark.long
def test_every_step_of_a_pruning_has_a_named_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(size: str, device: str) -> MemoryUse:
        return MemoryUse("resident set", (), "not now")

    monkeypatch.setattr(pruning, "measure_memory", elsewhere)
    section = bench_pruning("tiny", "cpu", 2)
    assert {one.name: one.alternative.split()[0] for one in section.comparisons} == {
        "score_magnitude_l2": "copy.deepcopy",
        "score_gate_gradient": "forward",
        "plan": "copy.deepcopy",
        "remove": "copy.deepcopy",
        "save": "save_pretrained",
        "reload": "from_pretrained",
    }
    assert "memory was not measured: not now" in lines_of(section)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux' /proc")
def test_memory_of_a_step_is_what_it_held_at_its_peak() -> None:
    num_bytes = 64 * 2**20

    def use(_: object) -> None:
        torch.ones(num_bytes // 4)

    found = memory._run("use", Action(use), "cpu")
    assert found.rise_bytes == found.peak_bytes - found.before_bytes
    # the allocator rounds, other threads breathe
    assert num_bytes * 0.9 < found.rise_bytes < num_bytes * 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux' /proc")
def test_process_that_measures_memory_and_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SentinelError, match="ended with 1"):
        memory.measure_memory("tiny", "cpu")
