"""The GPU kernel of the resolvent, run by Triton's interpreter on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# the interpreter is chosen when Triton is imported, so it needs a process of its own
_SCRIPT = """
import json, torch
from sentinel_research.ops.resolvent import numba_kernel as cpu, triton_kernel as gpu

def worst(found, expected):
    return max(
        ((one - other).abs().max() / (1 + other.abs().max())).item()
        for one, other in zip(found, expected) if one.numel()
    )

def differences(dtype, batch, length, channels):
    normal = lambda *shape: torch.randn(shape, dtype=dtype)
    h, c, u, _ = normal(batch, length, 4 * channels).chunk(4, -1)
    shifts = normal(channels), torch.ones(channels, dtype=dtype)
    state = 0.1 * normal(batch, 4, channels)
    for with_green in (True, False):
        args = h, c, u, *shifts, state, with_green
        yield worst(gpu.forward(*args), cpu.forward(*args))
    row, green, _ = cpu.forward(h, c, u, *shifts, state, True)
    grads = normal(*row.shape), normal(*row.shape), normal(*state.shape)
    for given in (grads, (grads[0], None, None), (None, grads[1], None)):
        args = c, u, state, row, green, *given
        yield worst(gpu.backward(*args), cpu.backward(*args))

shapes = (2, 7, 3), (1, 1, 1), (2, 9, 41)
found = {
    str(dtype): max(one for shape in shapes for one in differences(dtype, *shape))
    for dtype in (torch.float32, torch.float64)
}
print(json.dumps(found))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed (extra `kernels`)"
)
def test_gpu_kernel_equals_the_cpu_kernel() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SCRIPT],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    worst = json.loads(done.stdout)
    # rounding of each type, a few operations deep
    assert worst["torch.float32"] < 1e-6
    assert worst["torch.float64"] < 1e-14
