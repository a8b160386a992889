"""What the loss loses when one head is masked.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 3.1 (ablating
one head), https://arxiv.org/abs/1905.10650. We differ: the loss is language-model likelihood.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.models.modes import evaluating
from sentinel_research.pruning.calibrate import ScoringInputs, sequence_nll
from sentinel_research.pruning.gates import gate_heads
from sentinel_research.registry import scorer


@scorer(
    "leave_one_out",
    summary="increase of the loss when only this head is masked; one pass over the text per head",
    reference="Michel et al. 2019, section 3.1, https://arxiv.org/abs/1905.10650",
    calibrated=True,
)
@torch.no_grad()
def leave_one_out(inputs: ScoringInputs) -> list[Float64[Tensor, " _"]]:
    """Importance `E_sequences [ L(without head h) - L ]`.

    `L` is the mean negative log-likelihood per token of one sequence, in nats. Negative scores are
    heads whose absence helps on the calibration text. Costs one pass per head.

    Args:
        inputs: With calibration sequences.

    Returns:
        One float64 tensor per layer, [heads], in nats per token.

    Raises:
        UsageError: if there are no calibration sequences.
    """
    with evaluating(inputs.model):
        gates = [torch.ones(count) for count in inputs.num_heads]
        dense = _mean_nll(inputs, gates)
        scores = [torch.zeros(count, dtype=torch.float64) for count in inputs.num_heads]
        for layer, layer_scores in enumerate(scores):
            for head in range(len(layer_scores)):
                gates[layer][head] = 0.0
                layer_scores[head] = _mean_nll(inputs, gates) - dense
                gates[layer][head] = 1.0
    return scores


def _mean_nll(inputs: ScoringInputs, gates: list[Tensor]) -> float:
    total = 0.0
    with gate_heads(inputs.model, gates):
        for batch in inputs.batches():
            logits = inputs.model(batch, use_cache=False).logits
            total += float(sequence_nll(logits, batch).double().sum())
    return total / len(inputs.required_sequences())
