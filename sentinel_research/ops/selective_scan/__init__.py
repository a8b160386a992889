"""Mamba's selective scan: one function, several implementations with the same results.

`naive` is the definition as a loop in torch, on any device; `numba` is compiled for the CPU, with
its exact adjoint. `auto` takes the fastest that can serve the inputs.
"""

from typing import Literal

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.ops.selective_scan import naive
from sentinel_research.ops.selective_scan.quantities import ScanInputs, Scanned

Implementation = Literal["auto", "naive", "numba"]
IMPLEMENTATIONS: tuple[Implementation, ...] = ("auto", "naive", "numba")

__all__ = [
    "IMPLEMENTATIONS",
    "Implementation",
    "ScanInputs",
    "Scanned",
    "choose_implementation",
    "selective_scan",
]


def selective_scan(inputs: ScanInputs, *, implementation: Implementation = "auto") -> Scanned:
    """Run the recurrence of `naive` over a sequence.

    Args:
        inputs: See `ScanInputs`; half precision is computed in float32.
        implementation: One of `IMPLEMENTATIONS`.

    Returns:
        Outputs and the state after the last token, with which the next call goes on.

    Raises:
        UsageError: see `choose_implementation`.

    Reference: Gu and Dao 2023, algorithm 2, https://arxiv.org/abs/2312.00752

    Example:
        >>> x = torch.ones(1, 5, 3)
        >>> state = torch.ones(1, 5, 2)
        >>> inputs = ScanInputs(x, x, -torch.ones(3, 2), state, state, x[0, 0], x, x[0, 0])
        >>> selective_scan(inputs).y.shape
        torch.Size([1, 5, 3])
    """
    if choose_implementation(inputs, implementation) == "naive":
        return naive.scan(inputs)
    # numba and its compiler are loaded where they are used
    from sentinel_research.ops.selective_scan import numba_scan

    return numba_scan.scan(inputs)


def choose_implementation(
    inputs: ScanInputs, implementation: Implementation = "auto"
) -> Literal["naive", "numba"]:
    """Which implementation runs for given inputs.

    Args:
        inputs: Only device and type are read.
        implementation: One of `IMPLEMENTATIONS`.

    Raises:
        UsageError: for an unknown name, or one that cannot serve these inputs.
    """
    if implementation not in IMPLEMENTATIONS:
        raise UsageError(
            f"unknown implementation '{implementation}' of the selective scan",
            did_you_mean(implementation, IMPLEMENTATIONS),
        )
    device = inputs.x.device.type
    if implementation == "numba" and device != "cpu":
        raise UsageError(
            f"the numba scan runs on the CPU, and these tensors are on '{device}'",
            "use implementation='auto' or 'naive'",
        )
    if implementation == "auto":
        return "numba" if device == "cpu" else "naive"
    return implementation
