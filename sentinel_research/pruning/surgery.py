"""Remove heads physically: slice the weights, build the smaller model, check it.

Which rows and columns belong to a head comes from the family's row in `models.anatomy`. Query heads
lose their rows of the query projection and their columns of the output projection; a key/value head
loses its rows once no query head reads it any more.
"""

import copy
import itertools

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import CheckpointError
from sentinel_research.models.anatomy import Anatomy, anatomy_of
from sentinel_research.models.checkpoint import refuse_hooks
from sentinel_research.models.heads import Heads, heads_of
from sentinel_research.models.modes import evaluating
from sentinel_research.models.pruned import PRUNED_CLASSES, pruned_config
from sentinel_research.pruning.gates import gate_heads, plan_gates
from sentinel_research.pruning.plan import PruningPlan

# largest difference between the masked and the pruned model's logits, relative to the largest
# logit (at least 1): rounding of a shorter sum in the output projection, grown over the layers;
# transformers computes norms and softmax in float32 even for float64 models
_TOLERANCE = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}


def slice_state_dict(
    state: dict[str, Tensor], row: Anatomy, before: Heads, after: Heads
) -> dict[str, Tensor]:
    """The weights of a model with fewer heads.

    Args:
        state: State dict of the model with the heads `before`.
        row: Layout of the family.
        before: Heads of that model.
        after: Heads that stay, a subset.

    Returns:
        A state dict that shares no memory with `state`.
    """
    sliced = {key: value.detach().clone() for key, value in state.items()}
    for layer in range(before.num_layers):
        path = row.layer_path(layer)
        if not before.kept[layer]:
            continue
        if not after.kept[layer]:
            gone = [f"{path}.{p.name}.{kind}" for p in row.inputs for kind in ("weight", "bias")]
            for key in [*gone, f"{path}.{row.output}.weight"]:
                sliced.pop(key, None)
            continue
        queries = [before.kept[layer].index(head) for head in after.kept[layer]]
        kvs = [before.kv_kept(layer).index(group) for group in after.kv_kept(layer)]
        for projection in row.inputs:
            rows = before.rows(layer, projection, queries, kvs)
            _select(sliced, f"{path}.{projection.name}.weight", row.input_axis, rows)
            if before.has_bias:
                _select(sliced, f"{path}.{projection.name}.bias", 0, rows)
        columns = before.columns(queries)
        _select(sliced, f"{path}.{row.output}.weight", row.output_axis, columns)
    return sliced


def _select(state: dict[str, Tensor], key: str, axis: int, index: Tensor) -> None:
    state[key] = state[key].index_select(axis, index.to(state[key].device))


def remove(model: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A smaller model without the heads that a plan removes.

    Type, device, training flag, frozen parameters, tied embeddings and the attention implementation
    carry over; gradient checkpointing is off. A model that is already pruned may be pruned further;
    a plan whose heads are already gone changes nothing.

    Args:
        model: Dense or pruned model; it is not changed.
        plan: Which heads stay, by original index.

    Returns:
        A model of the family's pruned class.

    Raises:
        UsageError: if the plan does not fit the model, or the model carries a mask.
        CheckpointError: if the result does not compute what the masked model computes.
    """
    refuse_hooks(model, "pruned")
    row = anatomy_of(model.config)
    before = heads_of(model.config)
    plan.check_fits(before)
    after = before.reduced_to(plan.kept_heads)
    _, model_class = PRUNED_CLASSES[row.family]
    config = pruned_config(model.config, after.kept, plan.provenance())
    with torch.device("meta"):
        pruned = model_class(config)
    state = slice_state_dict(model.state_dict(), row, before, after)
    pruned.load_state_dict(state, strict=True, assign=True)
    pruned.tie_weights()
    _copy_state(model, pruned)
    check_agreement(model, pruned, plan)
    return pruned


def _copy_state(model: PreTrainedModel, pruned: PreTrainedModel) -> None:
    """Carry over everything that is neither a weight nor in the configuration."""
    # buffers outside the state dict (rotary frequencies) are still on the meta device
    for name, buffer in model.named_buffers():
        owner, _, attribute = name.rpartition(".")
        setattr(pruned.get_submodule(owner), attribute, buffer.detach().clone())
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(name not in frozen)
    left = [
        n
        for n, t in itertools.chain(pruned.named_parameters(), pruned.named_buffers())
        if t.is_meta
    ]
    assert not left, f"tensors without values: {left}"
    pruned.generation_config = copy.deepcopy(model.generation_config)
    pruned.train(model.training)


def probe_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two random sequences, one with hidden positions, on the model's device.

    Hidden positions matter: without an explicit mask another kernel runs, under which some wrong
    key/value groupings give the right logits. Position 0 stays visible, as a row that sees nothing
    is NaN under eager attention in float64.
    """
    length = min(7, model.config.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (2, length), generator=generator)
    attention_mask = torch.ones_like(ids)
    attention_mask[1, 1 : 1 + length // 3] = 0
    return {"input_ids": ids.to(model.device), "attention_mask": attention_mask.to(model.device)}


@torch.no_grad()
def check_agreement(model: PreTrainedModel, pruned: PreTrainedModel, plan: PruningPlan) -> float:
    """Compare a pruned model with its masked twin on a random input.

    Args:
        model: The model before pruning.
        pruned: What surgery made of it.
        plan: The plan in between.

    Returns:
        Largest absolute difference of the logits at positions that are not padding.

    Raises:
        CheckpointError: if it exceeds the tolerance of the model's type.
    """
    inputs = probe_inputs(model)
    visible = inputs["attention_mask"].bool()
    with evaluating(model), evaluating(pruned):
        with gate_heads(model, plan_gates(heads_of(model.config), plan)):
            masked_logits = model(**inputs).logits[visible].double()
        logits = pruned(**inputs).logits[visible].double()
    difference = float((masked_logits - logits).abs().max())
    bound = _TOLERANCE[model.dtype] * max(1.0, float(masked_logits.abs().max()))
    if not difference <= bound:
        raise CheckpointError(
            f"the pruned model differs from the masked one by {difference:.3g} in a logit, "
            f"more than {bound:.3g}",
            "This is a defect in the head surgery of this model family; use form='mask' until it "
            "is mended, and report the model and the plan.",
        )
    return difference
