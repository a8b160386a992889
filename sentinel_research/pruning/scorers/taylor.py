"""How strongly the loss reacts to a head's gate.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, equation 2 (section
4.1), https://arxiv.org/abs/1905.10650. We differ: the absolute value is taken per sequence, as
there, but scores are not normalised per layer.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.models.modes import evaluating, frozen
from sentinel_research.pruning.calibrate import ScoringInputs, sequence_nll
from sentinel_research.pruning.gates import gate_heads
from sentinel_research.registry import scorer


@scorer(
    "taylor",
    summary="mean absolute gradient of the loss with respect to the head's gate",
    reference="Michel et al. 2019, equation 2, https://arxiv.org/abs/1905.10650",
    calibrated=True,
)
def taylor(inputs: ScoringInputs) -> list[Float64[Tensor, " _"]]:
    """Importance `E_sequences | d L / d gate_h |` at gates of 1.

    `L` is the mean negative log-likelihood per token of one sequence. Every sequence of a batch has
    gates of its own, so gradients of different sequences cannot cancel and the batch size does not
    change the score. The gradient equals the signed sum of `W * dL/dW` over the head's slice of the
    output projection.

    Args:
        inputs: With calibration sequences.

    Returns:
        One float64 tensor per layer, [heads].

    Raises:
        UsageError: if there are no calibration sequences.
    """
    model = inputs.model
    totals = [torch.zeros(count, dtype=torch.float64) for count in inputs.num_heads]
    present = [layer for layer, total in enumerate(totals) if len(total)]
    if not present:
        return totals
    with evaluating(model), frozen(model):
        for batch in inputs.batches():
            gates = [
                torch.ones(len(batch), count, device=batch.device, requires_grad=True)
                for count in inputs.num_heads
            ]
            with torch.enable_grad(), gate_heads(model, gates):
                # sequences do not interact: the sum's gradient holds each one's own
                loss = sequence_nll(model(batch, use_cache=False).logits, batch).sum()
                gradients = torch.autograd.grad(loss, [gates[layer] for layer in present])
            for layer, gradient in zip(present, gradients, strict=True):
                totals[layer] += gradient.double().abs().sum(dim=0).cpu()
    return [total / len(inputs.required_sequences()) for total in totals]
