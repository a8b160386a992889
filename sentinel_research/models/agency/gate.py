"""A gate per head on the input of attention's output projection.

The block's output is `sum_h m_h g_h (a_h W_h) + b`, where `a_h` is what head `h` hands to its slice
of the output projection, `g_h` the learned gate and `m_h` the multiplier of the head's state.

Three modes. Each is written so that zero parameters are the state of rest, in which `g_h` is
exactly 1 and no bit of the model changes; weight decay therefore pulls towards the plain model.

- `static`: `g = 1 + offset`.
- `input`: `g = 2 sigmoid(x W + b)` of what the layer's attention reads [1]. We differ: the factor
  2, which the output projection could absorb, and the bias. `sigmoid(0)` is exactly 1/2.
- `hard_concrete`: the stretched and clipped binary concrete variable of [2], in training with noise
  per sequence and head, in evaluation `min(1, max(0, sigmoid(log_alpha) (zeta - gamma) + gamma))`
  [2, equation 13; 3]. `log_alpha = 3 + offset`: at rest evaluation clips to exactly 1, and in
  training a gate is 1 with probability 0.80 and 0 with probability 0.01.

Noise is drawn from torch's generator of the device, as dropout's is: gradient checkpointing draws
the same again, and Trainer stores and restores it.

Glossary: `B` batch, `T` positions, `H` heads, `D` head width, `E` hidden size.

References: [1] Qiu et al. 2025, Gated Attention for Large Language Models,
https://arxiv.org/abs/2505.06708. [2] Louizos et al. 2018, Learning Sparse Neural Networks through
L0 Regularization, https://arxiv.org/abs/1712.01312. [3] Voita et al. 2019, section 5,
https://arxiv.org/abs/1905.09418.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from sentinel_research.errors import UsageError
from sentinel_research.models.agency.states import (
    HeadState,
    HeadStatistics,
    Lock,
    locked,
    multipliers,
    next_states,
)
from sentinel_research.specs import AgencySpec, StatePolicy

# [2], section 2.3 and appendix: temperature and the ends of the stretched interval
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
REST_LOG_ALPHA = 3.0
_UNIFORM_MARGIN = 1e-6


class HeadGate(nn.Module):
    """Gates the heads of one layer, and keeps their states.

    Every tensor of the state dict runs over heads along its first axis. It can stand in any
    attention block: `o_proj(gate(heads, hidden_states))`.

    Args:
        num_heads: Query heads that the layer has.
        head_dim: Width of a head.
        hidden_size: Width of what the layer's attention reads.
        spec: With a gate.

    Raises:
        UsageError: if the spec asks for no gate.
    """

    state: Int[Tensor, " heads"]
    lock: Int[Tensor, " heads"]
    multiplier: Float[Tensor, " heads"]
    num_updates: Int[Tensor, " heads"]

    def __init__(self, num_heads: int, head_dim: int, hidden_size: int, spec: AgencySpec) -> None:
        super().__init__()
        if spec.gate is None:
            raise UsageError("an agency spec without `gate` has no head gates", "Give `gate`.")
        self.num_heads, self.head_dim = num_heads, head_dim
        self.mode = spec.gate
        self.policy: StatePolicy | None = spec.policy
        self.offset = nn.Parameter(torch.zeros(num_heads))
        if self.mode == "input":
            self.weight = nn.Parameter(torch.zeros(num_heads, hidden_size))
        self.register_buffer("state", torch.zeros(num_heads, dtype=torch.int8))
        self.register_buffer("lock", torch.zeros(num_heads, dtype=torch.int8))
        self.register_buffer("multiplier", torch.ones(num_heads))
        self.register_buffer("num_updates", torch.zeros(num_heads, dtype=torch.int64))
        for name in HeadStatistics._fields:
            self.register_buffer(name, torch.zeros(num_heads))
        self._show_states()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The state of rest."""
        for tensor in (*self.parameters(), *self.buffers()):
            # leaves alone what a checkpoint has filled
            init.zeros_(tensor)
        self._show_states()

    @property
    def reads_layer_input(self) -> bool:
        """False if the gates depend on nothing but parameters and noise."""
        return self.mode == "input"

    def values(
        self, batch_size: int, layer_input: Float[Tensor, "batch time hidden"] | None
    ) -> Float[Tensor, "*axes heads"]:
        """The learned gates, before the multiplier of the state.

        Args:
            batch_size: Sequences.
            layer_input: What the layer's attention reads; only `input` gates need it.

        Returns:
            [H]; [B, 1, H] for `hard_concrete` in training; [B, T, H] for `input`.
        """
        if self.mode == "static":
            return 1 + self.offset
        if self.mode == "input":
            assert layer_input is not None
            return 2 * torch.sigmoid(F.linear(layer_input, self.weight, self.offset))
        log_alpha = REST_LOG_ALPHA + self.offset
        if self.training:
            uniform = torch.rand((batch_size, 1, self.num_heads), device=log_alpha.device).clamp(
                _UNIFORM_MARGIN, 1 - _UNIFORM_MARGIN
            )
            logits = (torch.logit(uniform) + log_alpha) / BETA
        else:
            logits = log_alpha
        return (torch.sigmoid(logits) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def offered(
        self,
        projection_input: Float[Tensor, "batch time width"],
        layer_input: Float[Tensor, "batch time hidden"] | None,
    ) -> Float[Tensor, "batch time width"]:
        """What the heads hand on before the multipliers of their states: what statistics are of."""
        return self._scaled(projection_input, self.values(len(projection_input), layer_input))

    def forward(
        self,
        projection_input: Float[Tensor, "batch time width"],
        layer_input: Float[Tensor, "batch time hidden"] | None,
    ) -> Float[Tensor, "batch time width"]:
        """Gate the heads.

        Args:
            projection_input: Concatenated heads [B, T, H * D].
            layer_input: What the layer's attention reads, [B, T, E]; None where it is not read.

        Returns:
            The same shape and type as `projection_input`.
        """
        gate = self.values(len(projection_input), layer_input) * self.multiplier
        return self._scaled(projection_input, gate)

    def _scaled(self, heads: Tensor, gate: Tensor) -> Tensor:
        shape = heads.shape
        by_head = heads.view(*shape[:-1], self.num_heads, self.head_dim)  # [B, T, H, D]
        return (by_head * gate.to(heads.dtype).unsqueeze(-1)).view(shape)

    def expected_open(self) -> Float[Tensor, " heads"]:
        """Probability that a `hard_concrete` gate is not 0 [2, equation 12]; their sum is the L0.

        Raises:
            UsageError: for another mode, whose gates are never exactly 0 by chance.
        """
        if self.mode != "hard_concrete":
            raise UsageError(
                f"a gate of mode '{self.mode}' has no expected L0", "Use `gate: hard_concrete`."
            )
        return torch.sigmoid(REST_LOG_ALPHA + self.offset - BETA * math.log(-GAMMA / ZETA))

    @torch.no_grad()
    def update(self, measured: HeadStatistics) -> None:
        """Take a measurement into the running means, and move the states by the policy.

        Args:
            measured: Of this layer, [H] each.

        Raises:
            UsageError: in evaluation, where states are frozen.
        """
        if not self.training:
            raise UsageError(
                "the states of heads are frozen in evaluation", "Call model.train() to go on."
            )
        decay = self.policy.decay if self.policy is not None else StatePolicy().decay
        weight = torch.where(self.num_updates > 0, decay, 0.0)
        for name, value in measured._asdict().items():
            mean = self.get_buffer(name)
            mean.copy_(weight * mean + (1 - weight) * value)
        self.num_updates += 1
        if self.policy is not None:
            self.state.copy_(next_states(self.state, self.statistics(), self.policy))
        self._show_states()

    def statistics(self) -> HeadStatistics:
        """The running means; zeros before the first update."""
        return HeadStatistics(*map(self.get_buffer, HeadStatistics._fields))

    @torch.no_grad()
    def set_lock(self, head: int, lock: Lock) -> None:
        """Set the operator's lock of one head, by its index in this layer, in force at once.

        A head whose lock is taken off keeps its state until the policy's next update; without a
        policy it is active again.
        """
        self.lock[head] = lock
        if lock is Lock.NONE and self.policy is None:
            self.state[head] = HeadState.ACTIVE
        self._show_states()

    @torch.no_grad()
    def _show_states(self) -> None:
        self.state.copy_(locked(self.state, self.lock))
        self.multiplier.copy_(multipliers(self.state, self.policy))
