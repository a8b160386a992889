"""Exponential, softplus and sigmoid for kernels of numba, in a form that becomes vector code.

numba's own exponential is a call of the C library for each number. Those here are arithmetic only:
reduction by powers of two in two parts (Cody and Waite) and the polynomial of [1], and for the
logarithm the series of artanh. Relative error in float32 below 5e-7 (a test measures it), results
below the smallest normal number are zero. float64, which is there for checks, uses the C library.

numba renews a kernel's cached code when the kernel's own file changes; a change of this file alone
goes unnoticed, so empty `__pycache__` after one.

Reference: [1] Moshier, Cephes Mathematical Library, expf, https://www.netlib.org/cephes/
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

# contraction to fused multiply-adds and nothing else: reordering would undo the rounding below
_EXACT = {"contract"}

_f32 = np.float32
_ROUND = _f32(12582912.0)  # 1.5 * 2**23: adding it rounds to the nearest integer
_LOG2E = _f32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = _f32(0.693359375), _f32(-2.12194440e-4)
_E1, _E2, _E3 = _f32(5.0000001201e-1), _f32(1.6666665459e-1), _f32(4.1665795894e-2)
_E4, _E5, _E6 = _f32(8.3334519073e-3), _f32(1.3981999507e-3), _f32(1.9875691500e-4)
# between them 2**n is a normal number
_LOWEST, _HIGHEST = _f32(-87.33), _f32(88.37)
_ZERO, _ONE, _TWO, _INFINITY = _f32(0), _f32(1), _f32(2), _f32(np.inf)
_L3, _L5, _L7, _L9 = _f32(1 / 3), _f32(1 / 5), _f32(1 / 7), _f32(1 / 9)
_L11, _L13, _L15 = _f32(1 / 11), _f32(1 / 13), _f32(1 / 15)


@intrinsic
def _power_of_two(_context: Any, _rounded: Any) -> Any:
    """2**n for a float32 that holds `_ROUND + n`, by its bits; -126 <= n <= 127."""

    def emit(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(32)
        bits = builder.bitcast(arguments[0], integer)
        shifted = builder.shl(bits, ir.Constant(integer, 23))
        biased = builder.add(shifted, ir.Constant(integer, 127 << 23))
        return builder.bitcast(biased, ir.FloatType())

    return types.float32(types.float32), emit


@numba.njit(fastmath=_EXACT, error_model="numpy")
def _exp_single(x: Any) -> Any:
    rounded = x * _LOG2E + _ROUND
    n = rounded - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    tail = ((((_E6 * r + _E5) * r + _E4) * r + _E3) * r + _E2) * r + _E1
    value = (tail * r * r + r + _ONE) * _power_of_two(rounded)  # type: ignore[call-arg]
    value = _ZERO if x < _LOWEST else value
    return _INFINITY if x > _HIGHEST else value


@numba.njit(fastmath=_EXACT, error_model="numpy")
def _softplus_single(x: Any) -> Any:
    # log(1 + e^x) = max(x, 0) + log1p(e^-|x|), and log1p(u) = 2 artanh(u / (2 + u))
    u = _exp_single(-abs(x))
    s = u / (_TWO + u)
    q = s * s
    series = ((((((_L15 * q + _L13) * q + _L11) * q + _L9) * q + _L7) * q + _L5) * q + _L3) * q
    return (x if x > _ZERO else _ZERO) + _TWO * (s * series + s)


@numba.njit(fastmath=_EXACT, error_model="numpy")
def _sigmoid_single(x: Any) -> Any:
    return _ONE / (_ONE + _exp_single(-x))


def _exp_double(x: Any) -> Any:
    return math.exp(x)


def _softplus_double(x: Any) -> Any:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid_double(x: Any) -> Any:
    return 1.0 / (1.0 + math.exp(-x))


def exp(x: Any) -> Any:
    """e^x in compiled code; infinite from 88.37 in float32."""
    raise NotImplementedError(f"for compiled code only, called with {x}")


def softplus(x: Any) -> Any:
    """log(1 + e^x) in compiled code."""
    raise NotImplementedError(f"for compiled code only, called with {x}")


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x) in compiled code."""
    raise NotImplementedError(f"for compiled code only, called with {x}")


@overload(exp, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _choose_exp(x: Any) -> Any:
    return _exp_single.py_func if x == types.float32 else _exp_double


@overload(softplus, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _choose_softplus(x: Any) -> Any:
    return _softplus_single.py_func if x == types.float32 else _softplus_double


@overload(sigmoid, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _choose_sigmoid(x: Any) -> Any:
    return _sigmoid_single.py_func if x == types.float32 else _sigmoid_double
