"""Mamba of transformers with the selective scan of `ops` behind it on the CPU.

Configuration, initialisation, weights and cache are transformers' own: only the class of the mixer
modules of one model changes, so that a saved checkpoint is a stock one and models that are not ours
are not touched. On other devices transformers' own forward pass runs, with its fused kernels where
they are installed.

One thing is better than in transformers 5.23: a cache that is given together with several tokens
is continued. There the convolution continues and the scan starts from zero.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import Cache, PreTrainedModel
from transformers.models.mamba.modeling_mamba import MambaMixer

from sentinel_research.ops.selective_scan import ScanInputs, selective_scan
from sentinel_research.ops.short_convolution import short_convolution


class ScanMixer(MambaMixer):
    """transformers' mixer with another forward pass on the CPU; it has the same parameters."""

    def forward(
        self,
        hidden_states: Tensor,
        cache_params: Cache | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Mix tokens, as MambaMixer does.

        Args:
            hidden_states: [batch, seq, hidden_size].
            cache_params: Convolution inputs and scan states of all layers; updated in place.
            attention_mask: [batch, at least seq]; 0 marks padding, the last columns are used.
            **kwargs: For transformers' own forward pass.

        Returns:
            [batch, seq, hidden_size].
        """
        if not _is_on_cpu(self, hidden_states):
            return super().forward(hidden_states, cache_params, attention_mask, **kwargs)
        mask = None
        if attention_mask is not None:
            mask = attention_mask[:, -hidden_states.shape[1] :, None].to(hidden_states.dtype)
            hidden_states = hidden_states * mask
        x, gate = self.in_proj(hidden_states).chunk(2, dim=-1)  # [batch, seq, channels]
        past: Any = None if cache_params is None else cache_params.layers[self.layer_idx]
        x = self.act(short_convolution(x, self.conv1d.weight, self.conv1d.bias, past))
        if mask is not None:
            x = x * mask
        sizes = [self.time_step_rank, self.ssm_state_size, self.ssm_state_size]
        dt, write, read = self.x_proj(x).split(sizes, dim=-1)
        state = None
        if cache_params is not None:
            state = cache_params.get_recurrent_state(self.layer_idx, state_idx=0)
        scanned = selective_scan(
            ScanInputs(
                x=x,
                dt=linear(dt, self.dt_proj.weight),
                rate=-torch.exp(self.A_log.float()),
                write=write,
                read=read,
                skip=self.D,
                gate=gate,
                dt_bias=self.dt_proj.bias,
                state=state,
            )
        )
        if cache_params is not None:
            cache_params.update_recurrent_state(scanned.state, self.layer_idx)
        return self.out_proj(scanned.y.to(hidden_states.dtype))


def _is_on_cpu(mixer: "ScanMixer", hidden_states: Tensor) -> bool:
    # offloaded weights are elsewhere even where the computation is on the CPU
    return hidden_states.device.type == "cpu" and mixer.A_log.device.type == "cpu"


def use_scan(model: PreTrainedModel) -> int:
    """Make a model's Mamba mixers use the selective scan of this package on the CPU, in place.

    Args:
        model: Any model; one without transformers' MambaMixer stays as it is.

    Returns:
        Number of mixers.
    """
    mixers = [module for module in model.modules() if isinstance(module, MambaMixer)]
    for mixer in mixers:
        mixer.__class__ = ScanMixer
    return len(mixers)


def use_library(model: PreTrainedModel) -> None:
    """Undo `use_scan`, in place."""
    for module in model.modules():
        if isinstance(module, ScanMixer):
            module.__class__ = MambaMixer  # type: ignore[assignment]
