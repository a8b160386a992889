"""The selective scan: every implementation is the recurrence of `naive`, with its exact adjoint."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from numba.core import caching
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sentinel_research.errors import UsageError
from sentinel_research.ops import vector_math
from sentinel_research.ops.compiled import compiled
from sentinel_research.ops.selective_scan import (
    ScanInputs,
    choose_implementation,
    numba_kernel,
    selective_scan,
)

# two workers would compile the same kernels at once
pytestmark = pytest.mark.xdist_group("selective-scan")

# batch, seq, channels, d_state: odd ones, a single number, and one beyond every block and chunk
SHAPES = [(2, 7, 3, 5), (1, 1, 1, 1), (1, 63, 33, 2), (3, 65, 70, 16)]
NAMES = ScanInputs._fields


def _inputs(
    shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float64, seed: int = 0
) -> ScanInputs:
    batch, seq, channels, d_state = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    drawn = ScanInputs(
        x=draw(batch, seq, channels),
        dt=draw(batch, seq, channels) - 1,
        rate=-draw(channels, d_state).exp(),
        write=draw(batch, seq, d_state),
        read=draw(batch, seq, d_state),
        skip=draw(channels),
        gate=draw(batch, seq, channels),
        dt_bias=draw(channels),
        state=draw(batch, channels, d_state),
    )
    return ScanInputs._make(one.to(dtype) for one in drawn)


def _with_gradients(inputs: ScanInputs, implementation: str) -> tuple[Tensor, ...]:
    """y, the last state, and gradients of everything under random ones of both."""
    leaves = ScanInputs._make(one.detach().clone().requires_grad_() for one in inputs)
    scanned = selective_scan(leaves, implementation=implementation)
    generator = torch.Generator().manual_seed(1)
    above = [
        torch.randn(one.shape, generator=generator, dtype=torch.float64).to(one.dtype)
        for one in scanned
    ]
    gradients = torch.autograd.grad(scanned, leaves, above)
    return *(one.detach() for one in scanned), *gradients


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # rounding: 65 steps and sums over 70 channels of 16 states are some ten units in the last place
    [(torch.float64, 1e-14), (torch.float32, 5e-6)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.long
def test_compiled_scan_and_its_adjoint_equal_the_loop(
    shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    found = _with_gradients(_inputs(shape, dtype), "numba")
    expected = _with_gradients(_inputs(shape), "naive")
    for name, one, other in zip(("y", "state", *NAMES), found, expected, strict=True):
        assert _relative(one, other) <= tolerance, name


def test_adjoint_is_the_gradient_by_finite_differences() -> None:
    inputs = _inputs((2, 35, 3, 2))
    leaves = tuple(one.requires_grad_() for one in inputs)
    assert torch.autograd.gradcheck(lambda *all_: tuple(selective_scan(ScanInputs(*all_))), leaves)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    inputs = _inputs((2, 40, 5, 3), dtype)
    found, wide = selective_scan(inputs), selective_scan(inputs.cast())
    assert found.y.dtype == dtype
    assert found.state.dtype == torch.float32
    assert torch.equal(found.y, wide.y.to(dtype))
    assert torch.equal(found.state, wide.state)


@given(cut=strategies.integers(1, 69), seed=strategies.integers(0, 9))
def test_scan_in_two_parts_is_the_whole_scan(cut: int, seed: int) -> None:
    inputs = _inputs((2, 70, 5, 3), torch.float32, seed)
    by_token = ("x", "dt", "write", "read", "gate")
    head = inputs._replace(**{name: getattr(inputs, name)[:, :cut] for name in by_token})
    tail = inputs._replace(**{name: getattr(inputs, name)[:, cut:] for name in by_token})
    whole, first = selective_scan(inputs), selective_scan(head)
    second = selective_scan(tail._replace(state=first.state))
    # the same code runs on the same numbers
    assert torch.equal(torch.cat([first.y, second.y], 1), whole.y)
    assert torch.equal(second.state, whole.state)


@given(position=strategies.integers(0, 69), name=strategies.sampled_from(["x", "dt", "write"]))
def test_outputs_before_a_changed_token_are_bit_equal(position: int, name: str) -> None:
    inputs = _inputs((1, 70, 35, 3), torch.float32)
    changed = getattr(inputs, name).clone()
    changed[:, position] += 1
    one, other = selective_scan(inputs), selective_scan(inputs._replace(**{name: changed}))
    assert torch.equal(one.y[:, :position], other.y[:, :position])
    assert not torch.equal(one.y[:, position], other.y[:, position])


def test_no_sequence_depends_on_the_others_of_its_batch() -> None:
    inputs = _inputs((3, 33, 35, 4), torch.float32)
    shared = ("rate", "skip", "dt_bias")
    for index in range(3):
        alone = inputs._replace(
            **{
                name: one[index : index + 1]
                for name, one in inputs._asdict().items()
                if name not in shared
            }
        )
        assert torch.equal(selective_scan(alone).y[0], selective_scan(inputs).y[index])


@pytest.fixture
def _two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_two_threads")
def test_threads_change_no_bit() -> None:
    # large enough to be shared out
    inputs = _inputs((2, 256, 130, 16), torch.float32)
    shared = _with_gradients(inputs, "numba")
    torch.set_num_threads(1)
    alone = _with_gradients(inputs, "numba")
    assert all(torch.equal(one, other) for one, other in zip(shared, alone, strict=True))


def test_empty_sequence_returns_the_state() -> None:
    inputs = _inputs((2, 1, 3, 2))
    by_token = ("x", "dt", "write", "read", "gate")
    empty = inputs._replace(**{name: getattr(inputs, name)[:, :0] for name in by_token})
    for implementation in ("naive", "numba"):
        found = selective_scan(empty, implementation=implementation)
        assert found.y.shape == (2, 0, 3)
        assert torch.equal(found.state, inputs.state)


def test_missing_state_is_zero() -> None:
    inputs = _inputs((2, 5, 3, 2))
    zero = inputs._replace(state=torch.zeros_like(inputs.state))
    assert torch.equal(selective_scan(inputs._replace(state=None)).y, selective_scan(zero).y)


def test_not_a_number_is_passed_on_and_not_back() -> None:
    inputs = _inputs((1, 9, 3, 2), torch.float32)
    inputs.x[0, 4, 1] = float("nan")
    y = selective_scan(inputs).y
    assert y[0, 4:, 1].isnan().all()
    assert y[0, :4].isfinite().all()
    assert y[0, :, [0, 2]].isfinite().all()


def test_operations_are_counted_by_hand_and_by_torch_alike() -> None:
    batch, seq, channels, d_state = shape = (2, 9, 3, 5)
    leaves = ScanInputs._make(one.requires_grad_() for one in _inputs(shape, torch.float32))
    with FlopCounterMode(display=False) as forward:
        y = selective_scan(leaves).y
    # per state: rate * step, exp, decay * state, write * entering, +, read * state, +
    # per channel: bias +, softplus, step * x, skip * x, +, sigmoid and two products of the gate
    assert forward.get_total_flops() == batch * seq * channels * (7 * d_state + 8)
    with FlopCounterMode(display=False) as backward:
        y.sum().backward()
    each = 21 * d_state + 28
    assert backward.get_total_flops() == batch * seq * channels * each


@numba.njit
def _evaluate(x, out):
    for index in range(x.shape[0]):
        out[0, index] = vector_math.exp(x[index])
        out[1, index] = vector_math.softplus(x[index])
        out[2, index] = vector_math.sigmoid(x[index])


def test_vector_functions_are_accurate_to_a_few_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-87, 88, 20001), np.linspace(-1, 1, 2001)]).astype(np.float32)
    found = np.empty((3, len(x)), np.float32)
    _evaluate(x, found)
    wide = x.astype(np.float64)
    expected = np.stack([np.exp(wide), np.logaddexp(0, wide), 1 / (1 + np.exp(-wide))])
    # float32 rounds to 6e-8; up to eight such steps
    assert np.abs(found / expected - 1).max() < 5e-7


def test_vector_functions_at_the_ends() -> None:
    x = np.array([-np.inf, -200, 200, np.inf, np.nan], np.float32)
    found = np.empty((3, len(x)), np.float32)
    _evaluate(x, found)
    inf, nan = np.inf, np.nan
    expected = [[0, 0, inf, inf, nan], [0, 0, 200, inf, nan], [0, 0, 1, 1, nan]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_automatic_choice_is_numba_on_the_cpu_and_the_loop_elsewhere() -> None:
    inputs = _inputs((1, 2, 1, 1))
    assert choose_implementation(inputs) == "numba"
    meta = ScanInputs._make(one.to("meta") for one in inputs)
    assert choose_implementation(meta) == "naive"
    assert selective_scan(meta).y.shape == (1, 2, 1)


def test_unknown_implementation_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown implementation 'nunba'") as caught:
        selective_scan(_inputs((1, 2, 1, 1)), implementation="nunba")
    assert "numba" in caught.value.hint


def test_numba_elsewhere_than_on_the_cpu_is_refused() -> None:
    meta = ScanInputs._make(one.to("meta") for one in _inputs((1, 2, 1, 1)))
    with pytest.raises(UsageError, match="runs on the CPU, and these tensors are on 'meta'"):
        selective_scan(meta, implementation="numba")


def test_kernel_is_compiled_without_a_place_for_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR"):
        double = compiled({"contract"})(lambda x: 2 * x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double(21) == 42


def test_machine_code_is_kept_on_disk() -> None:
    selective_scan(_inputs((1, 2, 1, 1)))
    stats = numba_kernel.forward.stats
    assert stats.cache_path is not None
    assert stats.cache_hits or stats.cache_misses


@pytest.mark.slow
def test_second_process_compiles_nothing(tmp_path: object) -> None:
    code = """
import torch
from sentinel_research.ops.selective_scan import ScanInputs, numba_kernel, selective_scan
x = torch.ones(1, 2, 1)
selective_scan(ScanInputs(x, x, -x[0, :1], x, x, x[0, 0], x, x[0, 0]))
print(len(numba_kernel.forward.stats.cache_hits), len(numba_kernel.forward.stats.cache_misses))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["0", "1"], ["1", "0"]]
