"""Laws of the causal resolvent: causality, batches, bounds, and pieces with a carried state."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sentinel_research.ops.resolvent import resolvent
from tests.ops.resolvent import ON_CPU, as_complex, random_inputs, run

# two workers would compile the same kernels at once
pytestmark = pytest.mark.xdist_group("resolvent")


@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize("position", [0, 1, 29, 63])
@pytest.mark.parametrize("which", ["potential", "hop", "value"])
def test_changing_a_position_leaves_every_earlier_output_bit_equal(
    implementation: str, position: int, which: str
) -> None:
    inputs = random_inputs(2, 64, 5, dtype=torch.float32)
    before = run(inputs, implementation)
    index = ["potential", "hop", "value"].index(which)
    inputs[index] = inputs[index].clone()
    inputs[index][:, position] += 1
    after = run(inputs, implementation)
    for first, second in zip(before[:2], after[:2], strict=True):
        assert torch.equal(first[:, :position], second[:, :position])
    assert not torch.equal(before.row[:, position], after.row[:, position])


@pytest.mark.parametrize("implementation", ON_CPU)
def test_sequence_does_not_depend_on_the_rest_of_the_batch(implementation: str) -> None:
    inputs = random_inputs(3, 33, 5, dtype=torch.float32)
    others = [one.clone() for one in inputs]
    for one in (*others[:3], others[5]):
        one[[0, 2]] = one[[0, 2]].flip(-1)
    found, changed = run(inputs, implementation), run(others, implementation)
    for first, second in zip(found, changed, strict=True):
        assert torch.equal(first[1], second[1])
        assert not torch.equal(first[0], second[0])


def test_cpu_kernel_gives_a_sequence_the_same_bits_in_any_batch() -> None:
    *sequences, energy, width, state = random_inputs(3, 33, 70, dtype=torch.float32)
    whole = run([*sequences, energy, width, state], "numba")
    alone = run([*(one[1:2] for one in sequences), energy, width, state[1:2]], "numba")
    assert torch.equal(alone.row[0], whole.row[1])
    assert torch.equal(alone.state[0], whole.state[1])


@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize("extreme", ["potential", "hop", "both"])
def test_bounds_hold_for_adversarial_inputs(implementation: str, extreme: str) -> None:
    length = 65_536 if implementation != "naive" else 2048
    h, c, u, energy, _, _ = random_inputs(1, length, 3, dtype=torch.float32)
    if extreme in ("potential", "both"):
        h *= torch.tensor([100.0, 1e6, 1e12])
    if extreme in ("hop", "both"):
        c *= torch.tensor([100.0, 1e4, 1e8])
    width = torch.full((3,), 0.05)
    found = resolvent(h, c, u, energy, width, with_green=True, implementation=implementation)
    green, row = as_complex(found.green), as_complex(found.row)
    assert torch.isfinite(found.green).all()
    assert torch.isfinite(found.row).all()
    # rounding of the last division
    assert (green.abs() * width).max() <= 1 + 1e-6
    assert (green.imag <= 0).all()
    norms = u.double().square().cumsum(1).sqrt()
    assert (row.abs() * width / norms).max() <= 1 + 1e-6


@pytest.mark.parametrize("implementation", ON_CPU)
def test_resonance_without_disorder_stays_within_its_bound(implementation: str) -> None:
    """All hops equal and the shift inside the band: the longest memory there is."""
    length, width = 4096, torch.full((1,), 1e-3)
    zeros, ones = torch.zeros(1, length, 1), torch.ones(1, length, 1)
    value = torch.where(torch.arange(length) % 4 < 2, 1.0, -1.0)[None, :, None]
    found = resolvent(
        zeros, ones, value, torch.zeros(1), width, with_green=True, implementation=implementation
    )
    norms = value.double().square().cumsum(1).sqrt()
    assert (as_complex(found.row).abs() * width / norms).max() <= 1
    assert as_complex(found.row).abs().max() > 100, "the wave does not build up"


@pytest.mark.parametrize("implementation", ON_CPU)
@given(cut=st.integers(1, 39), seed=st.integers(0, 2**16))
def test_pieces_with_carried_state_equal_the_whole(
    implementation: str, cut: int, seed: int
) -> None:
    inputs = random_inputs(2, 40, 3, seed=seed)
    whole = run(inputs, implementation)
    *sequences, energy, width, state = inputs
    first = run([*(one[:, :cut] for one in sequences), energy, width, state], implementation)
    second = run([*(one[:, cut:] for one in sequences), energy, width, first.state], implementation)
    joined = torch.cat([first.row, second.row], 1)
    torch.testing.assert_close(joined, whole.row, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(second.state, whole.state, rtol=1e-11, atol=1e-11)


def test_decoding_token_by_token_repeats_the_cpu_kernel_exactly() -> None:
    *sequences, energy, width, state = random_inputs(2, 40, 70, dtype=torch.float32)
    whole = run([*sequences, energy, width, state], "numba")
    for index in range(40):
        step = [one[:, index : index + 1] for one in sequences]
        found = run([*step, energy, width, state], "numba")
        assert torch.equal(found.row[:, 0], whole.row[:, index])
        state = found.state
    assert torch.equal(state, whole.state)
