"""How focused a head's attention is.

Reference: [1] Voita et al. 2019, Analyzing Multi-Head Self-Attention, section 4 ("confidence" of a
head), https://arxiv.org/abs/1905.09418. We differ: entropy instead of the mean maximum weight, and
each row is normalised by the largest entropy it could have.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from sentinel_research.errors import CheckFailedError
from sentinel_research.models.modes import eager_attention, evaluating
from sentinel_research.pruning.calibrate import ScoringInputs
from sentinel_research.registry import scorer


def normalised_entropy(
    probabilities: Float[Tensor, "batch heads time time"],
) -> Float64[Tensor, "batch heads"]:
    """Mean over rows of causal attention entropy, as a share of its maximum.

    Row t (from 0) sees t + 1 keys, so its entropy lies in [0, ln(t + 1)]. Row 0 sees one key, its
    entropy is 0 whatever the head does, and it is left out.

    Args:
        probabilities: Rows sum to 1, entries above the diagonal are 0.

    Returns:
        In [0, 1] for every sequence and head: 0 is one-hot, 1 is uniform.
    """
    length = probabilities.shape[-1]
    entropy = torch.special.entr(probabilities.double()).sum(dim=-1)[..., 1:]  # [B, H, T - 1]
    visible = torch.arange(2, length + 1, dtype=torch.float64, device=probabilities.device)
    return (entropy / visible.log()).mean(dim=-1)


class _EntropyMeter:
    """Forward hook of one attention module that keeps a running sum, never the probabilities."""

    def __init__(self, num_heads: int) -> None:
        self.total = torch.zeros(num_heads, dtype=torch.float64)
        self.num_sequences = 0

    def __call__(
        self, _module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, Tensor | None]
    ) -> None:
        probabilities = output[1]
        if probabilities is None:
            raise CheckFailedError(
                "the attention implementation returned no probabilities, nothing can be scored",
                "The entropy scorer needs eager attention.",
            )
        self.total += normalised_entropy(probabilities).sum(dim=0).cpu()
        self.num_sequences += probabilities.shape[0]


@scorer(
    "entropy",
    summary="one minus the normalised entropy of the head's attention; diffuse heads go first",
    reference="Voita et al. 2019, section 4, https://arxiv.org/abs/1905.09418",
    calibrated=True,
)
@torch.no_grad()
def entropy(inputs: ScoringInputs) -> list[Float64[Tensor, " _"]]:
    """Importance `1 - E_sequences E_rows [ H(p_t) / ln(t + 1) ]`.

    Uses the probabilities of eager attention (the implementation is switched and put back) and
    reduces them layer by layer during the forward pass.

    Args:
        inputs: With calibration sequences.

    Returns:
        One float64 tensor per layer, [heads], in [0, 1].

    Raises:
        UsageError: if there are no calibration sequences.
        CheckFailedError: if a layer with heads yielded no probabilities.
    """
    sequences = inputs.required_sequences()
    model = inputs.model
    meters = [_EntropyMeter(count) for count in inputs.num_heads]
    handles = [
        attention.register_forward_hook(meter)
        for attention, meter in zip(inputs.anatomy.attentions(model), meters, strict=True)
        if len(meter.total)
    ]
    try:
        with evaluating(model), eager_attention(model):
            for batch in inputs.batches():
                model(batch, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    for layer, meter in enumerate(meters):
        if len(meter.total) and meter.num_sequences != len(sequences):
            raise CheckFailedError(
                f"layer {layer} showed attention for {meter.num_sequences} of {len(sequences)} "
                "sequences",
            )
    return [1 - meter.total / max(meter.num_sequences, 1) for meter in meters]
