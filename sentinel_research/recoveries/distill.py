"""Learn from the model before pruning: its distribution over tokens, and its hidden states.

Glossary: `B` sequences, `T` positions, `V` tokens, `E` hidden size, `N` positions that predict a
token which counts (its label is not -100).

References: [1] Hinton et al. 2015, Distilling the Knowledge in a Neural Network, section 2,
https://arxiv.org/abs/1503.02531. [2] Sanh et al. 2019, DistilBERT, section 3,
https://arxiv.org/abs/1910.01108. [3] Jiao et al. 2020, TinyBERT, equation 8,
https://arxiv.org/abs/1909.10351.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from sentinel_research import distributed
from sentinel_research.data.training_set import IGNORED
from sentinel_research.errors import UsageError
from sentinel_research.models.modes import evaluating
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec
from sentinel_research.training import LossTerm
from sentinel_research.training.sharded import frozen_twin

_HIDDEN = "output_hidden_states"


class DistillOptions(Spec):
    """How much the teacher counts, and what is learned from it."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """Weight of the teacher's distribution; the text's own tokens have the rest."""
    temperature: float = Field(default=2.0, gt=0)
    """Both distributions are softened by it."""
    hidden_weight: float = Field(default=0.0, ge=0)
    """Weight of the hidden-state term."""


def distillation_loss(
    student: Float[Tensor, "batch time vocab"],
    teacher: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    temperature: float,
) -> Float[Tensor, ""]:
    """`tau^2 / N * sum KL(softmax(z_teacher / tau) || softmax(z_student / tau))` [1].

    The factor `tau^2` keeps gradients of the size that they have at `tau = 1`.

    Args:
        student: Logits, trained.
        teacher: Logits of the same tokens.
        labels: Tokens; position `t` predicts the label at `t + 1`, and -100 counts nowhere.
        temperature: `tau`, above 0.

    Returns:
        Nats per token that counts.
    """
    counts = labels[:, 1:] != IGNORED
    log_q = F.log_softmax(student[:, :-1][counts].float() / temperature, dim=-1)  # [N, V]
    log_p = F.log_softmax(teacher[:, :-1][counts].float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def hidden_loss(
    student: Sequence[Float[Tensor, "batch time hidden"]],
    teacher: Sequence[Float[Tensor, "batch time hidden"]],
    labels: Int[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Mean squared error of hidden states of root mean square 1, over layers and positions.

    For one position it is `1/E * sum_e (h_e / rms(h) - k_e / rms(k))^2 = 2 (1 - cos(h, k))`: twice
    the cosine loss of [2]. [3] compares the states themselves, through a map between widths; the
    widths are equal here, as pruning leaves the residual stream alone.

    Args:
        student: States behind every layer, trained.
        teacher: States behind the same layers. A layer whose blocks are gone still has one.
        labels: As in `distillation_loss`, the same positions count.

    Returns:
        Between 0 and 4.
    """
    counts = labels[:, 1:] != IGNORED
    terms = [
        2 * (1 - F.cosine_similarity(own[:, :-1][counts].float(), its[:, :-1][counts].float(), -1))
        for own, its in zip(student, teacher, strict=True)
    ]
    return torch.stack([term.mean() for term in terms]).mean()


@recovery(
    "distill",
    summary="the model before pruning teaches: KL at a temperature, cross-entropy, hidden states",
    reference="Hinton et al. 2015, section 2, https://arxiv.org/abs/1503.02531; "
    "Sanh et al. 2019, section 3, https://arxiv.org/abs/1910.01108",
    options=DistillOptions,
)
def distill(inputs: RecoveryInputs, options: DistillOptions) -> Adjustment:
    """Train on `alpha tau^2 KL(teacher || student) + (1 - alpha) L + hidden_weight H`.

    `L` is the loss so far: the cross-entropy of the text, with what methods named before this one
    make of it. The teacher runs without dropout and gradients. With `alpha` and `hidden_weight` 0
    it does not run at all, and training is plain, bit for bit.

    Raises:
        UsageError: without a teacher, or for one of another vocabulary, depth or width.
    """
    teacher = inputs.teacher
    if teacher is None:
        raise UsageError(
            "`distill` learns from the model before pruning, and none was given",
            "give `teacher`; a recipe's run has it by itself",
        )
    report = {"distill": {**options.model_dump(), "teacher": teacher.config.model_type}}
    if not options.alpha and not options.hidden_weight:
        return Adjustment(report=lambda: report)
    asked = {_HIDDEN: True} if options.hidden_weight else {}
    _check_fits(inputs, teacher, asked)
    return Adjustment(
        loss=_loss(teacher, options, asked), forward_arguments=asked, report=lambda: report
    )


def _loss(teacher: PreTrainedModel, options: DistillOptions, asked: dict[str, Any]) -> LossTerm:
    in_parts: dict[nn.Module, PreTrainedModel] = {}

    def loss(model: nn.Module, batch: Mapping[str, Any], outputs: Any, so_far: Tensor) -> Tensor:
        labels = batch["labels"]
        given = {name: value for name, value in batch.items() if name != "labels"}
        if distributed.divides_weights() and model not in in_parts:
            # that of a phase before is of no use any more
            in_parts.clear()
            in_parts[model] = frozen_twin(teacher, model)
        teaching = in_parts.get(model, teacher)
        with evaluating(teaching), torch.no_grad():
            its = teaching(**given, **asked)
        total = (1 - options.alpha) * so_far
        if options.alpha:
            total = total + options.alpha * distillation_loss(
                outputs.logits, its.logits, labels, options.temperature
            )
        if options.hidden_weight:
            # the first states are the embeddings
            total = total + options.hidden_weight * hidden_loss(
                outputs.hidden_states[1:], its.hidden_states[1:], labels
            )
        return total

    return loss


def _check_fits(inputs: RecoveryInputs, teacher: PreTrainedModel, asked: dict[str, Any]) -> None:
    """Refuse a teacher whose outputs cannot be compared with the student's, by one short look."""
    ids = torch.from_numpy(inputs.data.blocks[:1, :2]).to(inputs.model.device)
    shapes = []
    for model in (inputs.model, teacher):
        with evaluating(model), torch.no_grad():
            found = model(input_ids=ids, **asked)
        states = (found.hidden_states or ()) if asked else ()
        shapes.append((found.logits.shape[-1], [state.shape[-1] for state in states]))
    if shapes[0] != shapes[1] or (asked and not shapes[0][1]):
        (tokens, widths), (its_tokens, its_widths) = shapes
        raise UsageError(
            f"`distill`: the teacher has {its_tokens} tokens and hidden states of widths "
            f"{its_widths}, the model {tokens} and {widths}",
            "the teacher must be the model before pruning; `hidden_weight: 0` compares logits only",
        )
