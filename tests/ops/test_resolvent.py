"""The causal resolvent: every implementation against the dense inverse, and against the loop."""

import importlib.util
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sentinel_research.errors import UsageError
from sentinel_research.ops.resolvent import green_diagonal, implementation_for, resolvent
from sentinel_research.ops.resolvent.outputs import BACKWARD_FLOPS, FORWARD_FLOPS
from tests.ops.resolvent import FAST, ON_CPU, as_complex, random_inputs, run

# two workers would compile the same kernels at once
pytestmark = pytest.mark.xdist_group("resolvent")

# odd sizes: a partial chunk, a partial tile, more than one tile, a single position
SHAPES = {"B2-N7-C3": (2, 7, 3), "B1-N1-C1": (1, 1, 1), "B3-N65-C41": (3, 65, 41),
          "B1-N50-C130": (1, 50, 130)}  # fmt: skip


def _hamiltonian(potential: Tensor, hop: Tensor) -> Tensor:
    """tridiag(c, h, c) of one channel, `[seq, seq]`."""
    above = torch.diag_embed(hop[1:], 1)
    return torch.diag_embed(potential) + above + above.T


def _dense(potential: Tensor, hop: Tensor, energy: Tensor, width: Tensor) -> Tensor:
    """(z - H)^-1 of one channel."""
    shift = torch.complex(energy, width) * torch.eye(len(potential), dtype=torch.complex128)
    return torch.linalg.inv(shift - _hamiltonian(potential, hop))


@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize(
    ("length", "ends"),
    [
        (63, range(1, 64)),
        (512, (255, 511, 512)),
        pytest.param(512, range(1, 513), marks=pytest.mark.slow),
    ],
    ids=["63", "512-some", "512-every"],
)
def test_row_and_green_are_those_of_the_inverse_of_every_leading_block(
    implementation: str, length: int, ends: Iterable[int]
) -> None:
    h, c, u, energy, width, _ = random_inputs(1, length, 2)
    found = resolvent(h, c, u, energy, width, with_green=True, implementation=implementation)
    row, green = as_complex(found.row), as_complex(found.green)
    for channel in range(2):
        args = h[0, :, channel], c[0, :, channel], energy[channel], width[channel]
        for end in ends:
            inverse = _dense(args[0][:end], args[1][:end], *args[2:])[-1]
            expected = inverse @ u[0, :end, channel].to(inverse.dtype)
            # relative to the bounds 1/eta and |u|/eta
            error = (green[0, end - 1, channel] - inverse[-1]).abs() * args[3]
            assert error < 1e-12
            scale = args[3] / u[0, :end, channel].norm()
            assert (row[0, end - 1, channel] - expected).abs() * scale < 1e-12


@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize("strength", [1.0, 10.0])
@pytest.mark.parametrize("length", [1, 16, 300])
def test_green_diagonal_is_that_of_the_whole_inverse(
    implementation: str, length: int, strength: float
) -> None:
    h, c, _, energy, width, _ = random_inputs(1, length, 2)
    h = h * strength
    found = as_complex(green_diagonal(h, c, energy, width, implementation=implementation))
    for channel in range(2):
        args = h[0, :, channel], c[0, :, channel], energy[channel], width[channel]
        expected = torch.diagonal(_dense(*args))
        assert ((found[0, :, channel] - expected).abs() / expected.abs()).max() < 1e-11


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.long
def test_fast_implementation_equals_the_loop_in_values_and_gradients(
    implementation: str, shape: tuple[int, int, int]
) -> None:
    inputs = [one.requires_grad_() for one in random_inputs(*shape)]
    generator = torch.Generator().manual_seed(1)
    found = {name: run(inputs, name) for name in ("naive", implementation)}
    weights = [
        torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in found["naive"]
    ]
    gradients = {
        name: torch.autograd.grad(
            sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True)), inputs
        )
        for name, outputs in found.items()
    }
    for expected, actual in [
        *zip(found["naive"], found[implementation], strict=True),
        *zip(gradients["naive"], gradients[implementation], strict=True),
    ]:
        # a few roundings of float64
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("implementation", FAST)
def test_adjoint_passes_gradcheck(implementation: str) -> None:
    inputs = [one.requires_grad_() for one in random_inputs(2, 5, 3)]
    assert torch.autograd.gradcheck(lambda *args: run(list(args), implementation), inputs)


@pytest.mark.parametrize("implementation", FAST)
def test_gradient_of_the_row_alone_equals_that_of_the_loop(implementation: str) -> None:
    inputs = [one.requires_grad_() for one in random_inputs(2, 9, 3)[:5]]
    gradients = [
        torch.autograd.grad(resolvent(*inputs, implementation=name).row.cos().sum(), inputs)
        for name in ("naive", implementation)
    ]
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("implementation", FAST)
def test_float32_is_within_rounding_of_the_float64_loop(implementation: str) -> None:
    inputs = random_inputs(1, 2048, 8, dtype=torch.float32)
    expected = run([one.double() for one in inputs], "naive")
    found = run(inputs, implementation)
    for actual, exact in zip(found, expected, strict=True):
        # 5e-6 is the research prototype's figure for a decode of this length
        assert (actual - exact).abs().max() / exact.abs().max() < 5e-6


@pytest.mark.parametrize("implementation", FAST)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 80),
    channels=st.integers(1, 140),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25)
def test_every_shape_and_scale_equals_the_loop(
    implementation: str, batch: int, length: int, channels: int, scale: float, seed: int
) -> None:
    inputs = random_inputs(batch, length, channels, seed=seed)
    inputs[0], inputs[1] = inputs[0] * scale, inputs[1] * scale
    for actual, expected in zip(run(inputs, implementation), run(inputs, "naive"), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_slices_of_a_projection_and_threads_change_nothing(num_threads: int) -> None:
    # enough work to be shared
    batch, length, channels = 2, 170, 300
    fused = torch.randn(batch, length, 4 * channels)
    h, c, u, _ = fused.chunk(4, -1)
    shifts = [torch.zeros(channels), torch.ones(channels)]
    expected = resolvent(*(one.contiguous() for one in (h, c, u)), *shifts)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = resolvent(h, c, u, *shifts)
        gradient = torch.autograd.functional.vjp(
            lambda one: resolvent(h, one, u, *shifts).row, c, found.row
        )[1]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.row, expected.row)
    expected_gradient = torch.autograd.functional.vjp(
        lambda one: resolvent(h, one, u, *shifts).row, c.contiguous(), found.row
    )[1]
    assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    inputs = [one.to(dtype) for one in random_inputs(1, 20, 4, dtype=torch.float32)]
    found = run(inputs, "numba")
    expected = run([one.float() for one in inputs], "numba")
    assert found.row.dtype == dtype
    assert found.state.dtype == torch.float32
    assert torch.equal(found.row, expected.row.to(dtype))


def test_transposed_sequences_are_accepted() -> None:
    *sequences, energy, width, state = random_inputs(2, 6, 5)
    turned = [one.transpose(1, 2).contiguous().transpose(1, 2) for one in sequences]
    assert turned[0].stride(2) != 1
    expected = run([*sequences, energy, width, state], "numba")
    assert torch.equal(run([*turned, energy, width, state], "numba").row, expected.row)


def test_flop_counter_counts_forward_and_backward() -> None:
    inputs = [one.requires_grad_() for one in random_inputs(2, 5, 3)[:5]]
    with FlopCounterMode(display=False) as counter:
        resolvent(*inputs).row.sum().backward()
    assert counter.get_total_flops() == (FORWARD_FLOPS + BACKWARD_FLOPS) * 2 * 5 * 3


def test_operator_obeys_the_rules_of_torch() -> None:
    args = random_inputs(2, 5, 3)
    torch.library.opcheck(
        torch.ops.sentinel_research.resolvent.default,
        (*(one.requires_grad_() for one in args), True, "numba"),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.mark.parametrize(
    ("device", "has_triton", "expected"),
    [
        ("cpu", True, "numba"),
        ("cuda", True, "triton"),
        ("cuda", False, "chunked"),
        ("mps", True, "chunked"),
    ],
)
def test_every_device_has_its_implementation(
    monkeypatch: pytest.MonkeyPatch, device: str, has_triton: bool, expected: str
) -> None:
    installed = {"triton": object()} if has_triton else {}
    monkeypatch.setattr(importlib.util, "find_spec", installed.get)
    assert implementation_for(torch.device(device)) == expected


def test_unknown_implementation_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown implementation 'numbo'") as refusal:
        implementation_for(torch.device("cpu"), "numbo")
    assert "numba" in str(refusal.value)


@pytest.mark.parametrize(("name", "device"), [("triton", "cpu"), ("numba", "cuda")])
def test_kernel_of_another_device_is_refused(name: str, device: str) -> None:
    with pytest.raises(UsageError, match=f"the {name} resolvent runs on"):
        implementation_for(torch.device(device), name)


def test_empty_sequence_is_refused() -> None:
    empty = torch.zeros(1, 0, 2)
    with pytest.raises(UsageError, match="empty sequence"):
        resolvent(empty, empty, empty, torch.zeros(2), torch.ones(2))
