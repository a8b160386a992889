"""The selective scan token by token, in torch: slow, and what the other implementations must equal.

    step_t  = softplus(dt_t + dt_bias)
    state_t = exp(step_t * rate) * state_(t-1) + step_t * x_t * write_t
    y_t     = (sum over d_state of read_t * state_t + skip * x_t) * silu(gate_t)

This is algorithm 2 of the paper with its own discretisation: zero-order hold for the decay, Euler
for the input. See `quantities` for names and reference.
"""

import torch
from torch.nn.functional import silu, softplus

from sentinel_research.ops.selective_scan.quantities import ScanInputs, Scanned


def scan(inputs: ScanInputs) -> Scanned:
    """The scan as its definition says; differentiable by autograd, memory linear in `seq`."""
    given, dtype = inputs.cast(), inputs.x.dtype
    step = softplus(given.dt + given.dt_bias)  # [batch, seq, channels]
    entering = step * given.x
    state = given.initial_state()
    outputs = []
    for t in range(given.x.shape[1]):
        decay = torch.exp(step[:, t, :, None] * given.rate)  # [batch, channels, d_state]
        state = decay * state + entering[:, t, :, None] * given.write[:, t, None, :]
        outputs.append((state * given.read[:, t, None, :]).sum(-1))
    read = torch.stack(outputs, dim=1) if outputs else torch.zeros_like(given.x)
    y = (read + given.skip * given.x) * silu(given.gate)
    return Scanned(y.to(dtype), state)
