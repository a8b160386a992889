"""One gate: its modes, its state of rest, and that it asks nothing of anybody else."""

import math

import pytest
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from sentinel_research.errors import UsageError
from sentinel_research.models.agency import HeadGate, HeadStatistics, gated_layers
from sentinel_research.models.agency.gate import REST_LOG_ALPHA
from sentinel_research.specs import AgencySpec, GateMode
from tests.models.agency import MODES

H, D, E = 3, 5, 7
every_mode = pytest.mark.parametrize("mode", MODES)


def _gate(mode: GateMode) -> HeadGate:
    return HeadGate(H, D, E, AgencySpec(gate=mode)).eval()


def _inputs(batch: int = 2, time: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, time, H * D, generator=generator),
        torch.randn(batch, time, E, generator=generator),
    )


@every_mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_gate_at_rest_changes_no_bit_in_any_type(mode: GateMode, dtype: torch.dtype) -> None:
    heads, hidden = (tensor.to(dtype) for tensor in _inputs())
    gate = _gate(mode).to(dtype)
    assert gate.values(2, hidden).eq(1).all()
    out = gate(heads, hidden)
    assert out.dtype == dtype
    assert torch.equal(out, heads)


@every_mode
def test_rest_is_all_parameters_zero(mode: GateMode) -> None:
    assert all(parameter.eq(0).all() for parameter in _gate(mode).parameters())


@every_mode
def test_reset_brings_a_gate_back_to_rest(mode: GateMode) -> None:
    gate, rest = _gate(mode), _gate(mode).state_dict()
    for tensor in gate.state_dict().values():
        tensor.fill_(3)
    gate.reset_parameters()
    assert all(torch.equal(value, rest[name]) for name, value in gate.state_dict().items())


@every_mode
def test_every_tensor_of_a_gate_runs_over_heads(mode: GateMode) -> None:
    assert {tensor.shape[0] for tensor in _gate(mode).state_dict().values()} == {H}


def test_static_gate_multiplies_each_head_by_one_scalar() -> None:
    gate, (heads, hidden) = _gate("static"), _inputs()
    gate.offset.data = torch.tensor([0.5, -1.0, 1.0])
    expected = heads.unflatten(-1, (H, D)) * torch.tensor([1.5, 0.0, 2.0])[:, None]
    assert torch.equal(gate(heads, hidden), expected.flatten(-2))


def test_input_gate_is_twice_the_sigmoid_of_a_linear_function_of_the_token() -> None:
    gate, (_, hidden) = _gate("input"), _inputs()
    generator = torch.Generator().manual_seed(2)
    gate.weight.data = torch.randn(H, E, generator=generator)
    gate.offset.data = torch.randn(H, generator=generator)
    for b in range(2):
        for t in range(4):
            for head in range(H):
                logit = (gate.weight[head] @ hidden[b, t] + gate.offset[head]).item()
                # float32 on the one side
                expected = pytest.approx(2 / (1 + math.exp(-logit)), rel=1e-5)
                assert gate.values(2, hidden)[b, t, head].item() == expected


@pytest.mark.parametrize(
    ("log_alpha", "expected"), [(0.0, 0.5), (-2.5, 0.0), (2.5, 1.0), (1.0, 0.77727)]
)
def test_hard_concrete_gate_is_deterministic_in_evaluation(
    log_alpha: float, expected: float
) -> None:
    gate, (_, hidden) = _gate("hard_concrete"), _inputs()
    gate.offset.data.fill_(log_alpha - REST_LOG_ALPHA)
    # min(1, max(0, sigmoid(log_alpha) * 1.2 - 0.1)), five digits above
    assert gate.values(2, hidden).tolist() == pytest.approx([expected] * H, abs=1e-5)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, REST_LOG_ALPHA])
def test_expected_l0_is_the_share_of_drawn_gates_that_are_open(log_alpha: float) -> None:
    gate = _gate("hard_concrete").train()
    gate.offset.data.fill_(log_alpha - REST_LOG_ALPHA)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = gate.values(20_000, None)
    assert drawn.shape == (20_000, 1, H)
    # five standard errors of a share of 60,000 draws are below 0.011
    assert (drawn > 0).float().mean().item() == pytest.approx(
        gate.expected_open()[0].item(), abs=0.011
    )
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_noise_of_hard_concrete_gates_follows_torchs_generator() -> None:
    gate, (heads, hidden) = _gate("hard_concrete").train(), _inputs()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = gate(heads, hidden)
        second = gate(heads, hidden)
        torch.manual_seed(3)
        again = gate(heads, hidden)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_other_modes_have_no_expected_l0() -> None:
    with pytest.raises(UsageError, match="no expected L0"):
        _gate("static").expected_open()


def test_spec_without_a_gate_makes_none() -> None:
    with pytest.raises(UsageError, match="no head gates"):
        HeadGate(H, D, E, AgencySpec(gate=None, skips=True))


@every_mode
def test_every_parameter_of_a_gate_gets_a_gradient_at_rest(mode: GateMode) -> None:
    gate, (heads, hidden) = _gate(mode), _inputs()
    if mode == "hard_concrete":
        # clipped gates have no slope; noise takes some of them off the end
        gate.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (gate(heads.repeat(50, 1, 1), hidden.repeat(50, 1, 1)) ** 2).sum().backward()
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.ne(0).all(), name


def test_update_is_refused_in_evaluation() -> None:
    with pytest.raises(UsageError, match="frozen in evaluation"):
        _gate("static").update(HeadStatistics(*torch.zeros(3, H)))


class _Mixer(nn.Module):
    """Attention of ours, as far as a gate sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = HeadGate(H, D, E, AgencySpec(gate="input"))
        self.o_proj = nn.Linear(H * D, E)


class _Model(nn.Module):
    """Three layers, of which the middle one mixes in another way."""

    def __init__(self) -> None:
        super().__init__()
        mixers = [_Mixer(), nn.Identity(), _Mixer()]
        self.layers = nn.ModuleList(nn.ModuleDict({"mixer": mixer}) for mixer in mixers)


def test_gates_are_found_in_mixers_of_our_own() -> None:
    model, config = _Model(), PretrainedConfig(num_hidden_layers=3)
    found = gated_layers(model, config)
    assert [place.layer for place in found] == [0, 2]
    assert [place.heads for place in found] == [(0, 1, 2)] * 2
    assert found[1].attention is model.layers[2]["mixer"]
    assert found[1].output is model.layers[2]["mixer"].o_proj
    assert not found[1].rows_first


@pytest.mark.parametrize("window", [None, 7])
def test_window_of_mixers_of_our_own_is_that_of_the_configuration(window: int | None) -> None:
    given = {} if window is None else {"sliding_window": window}
    found = gated_layers(_Model(), PretrainedConfig(num_hidden_layers=3, **given))
    assert [place.window for place in found] == [window] * 2


def test_running_means_start_with_the_first_measurement_and_decay() -> None:
    gate = _gate("static").train()
    first, second = torch.rand(2, 3, H, generator=torch.Generator().manual_seed(4))
    gate.update(HeadStatistics(*first))
    assert torch.equal(torch.stack(gate.statistics()), first)
    gate.update(HeadStatistics(*second))
    # one rounding of float32 each way
    assert torch.allclose(torch.stack(gate.statistics()), 0.9 * first + 0.1 * second, rtol=1e-6)
    assert gate.num_updates.tolist() == [2] * H
