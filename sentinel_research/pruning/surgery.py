"""Remove parts physically: slice the weights, build the smaller model, check it.

Which rows and columns belong to a unit comes from the family's row in `models.anatomy`. Query heads
lose their rows of the query projection and their columns of the output projection; a key/value head
loses its rows once no query head reads it any more; a gate goes with its head; a neuron loses a row
of every input projection and a column of the output projection; a block loses everything, its norm
included where the norm is its own. Single weights are set to zero.
"""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import CheckpointError
from sentinel_research.models.agency.attach import GATE_NAME
from sentinel_research.models.anatomy import anatomy_of, context_length
from sentinel_research.models.anatomy_schema import Anatomy
from sentinel_research.models.hooks import refuse_hooks
from sentinel_research.models.layout import (
    head_columns,
    norm_stays,
    projection_rows,
    structure_of,
)
from sentinel_research.models.modes import evaluating, in_float32
from sentinel_research.models.pruned import pruned_config
from sentinel_research.models.rebuild import rebuild
from sentinel_research.pruning.gates import gate_units, plan_gates, zero_weights
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.structure import Structure

# largest difference between the masked and the pruned model's logits, relative to the largest
# logit (at least 1), both computed in float32 at least: rounding of a shorter sum in the output
# projection, grown over the layers
_TOLERANCE = 1e-4


def slice_state_dict(
    state: dict[str, Tensor],
    row: Anatomy,
    before: Structure,
    after: Structure,
    *,
    keeps_norms: bool,
) -> dict[str, Tensor]:
    """The weights of a model with fewer parts.

    Args:
        state: State dict of the model with the structure `before`.
        row: Layout of the family.
        before: Structure of that model.
        after: What stays; output biases that it newly has are zeros.
        keeps_norms: True if the norm of a removed block stays.

    Returns:
        A state dict that shares no memory with `state`.
    """
    sliced = {key: value.detach() for key, value in state.items()}
    given = {id(value) for value in sliced.values()}
    for layer in range(before.num_layers):
        _slice_attention(sliced, row, before, after, layer)
        _slice_ffn(sliced, row, before, after, layer)
        old, new = before.layers[layer], after.layers[layer]
        for block, was, stays in (
            ("attention", old.has_attention, new.has_attention),
            ("ffn", old.has_ffn, new.has_ffn),
        ):
            if was and not stays:
                gone = [row.output_path(layer, block)]  # type: ignore[arg-type]
                gone += [] if keeps_norms else [row.norm_path(layer, block)]  # type: ignore[arg-type]
                _drop(sliced, gone, ("weight", "bias"))
    # what was sliced is a copy already
    return {key: v.clone() if id(v) in given else v for key, v in sliced.items()}


def _slice_attention(
    state: dict[str, Tensor], row: Anatomy, before: Structure, after: Structure, layer: int
) -> None:
    old, new = before.layers[layer].heads, after.layers[layer].heads
    output = row.output_path(layer, "attention")
    gate = f"{row.attention_path(layer)}.{GATE_NAME}."
    gate_keys = [key for key in state if key.startswith(gate)]
    if old and not new:
        _drop(state, row.input_paths(layer, "attention"), ("weight", "bias"))
        for key in gate_keys:
            del state[key]
    elif old:
        queries = [old.index(head) for head in new]
        kvs = [before.kv_heads(layer).index(group) for group in after.kv_heads(layer)]
        for projection, path in zip(row.inputs, row.input_paths(layer, "attention"), strict=True):
            rows = projection_rows(before, layer, projection, queries, kvs)
            _select(state, f"{path}.weight", row.input_axis, rows)
            if before.attention_input_bias:
                _select(state, f"{path}.bias", 0, rows)
        _select(state, f"{output}.weight", row.output_axis, head_columns(before, queries))
        for key in gate_keys:
            _select(state, key, 0, torch.tensor(queries, dtype=torch.long))
    _finish_output(
        state,
        output,
        before.hidden_size,
        is_empty=not new,
        adds_bias=after.layers[layer].has_attention
        and after.attention_output_bias
        and not before.attention_output_bias,
    )


def _slice_ffn(
    state: dict[str, Tensor], row: Anatomy, before: Structure, after: Structure, layer: int
) -> None:
    old, new = before.layers[layer].neurons, after.layers[layer].neurons
    output = row.output_path(layer, "ffn")
    if old and not new:
        _drop(state, row.input_paths(layer, "ffn"), ("weight", "bias"))
    elif old:
        position = {neuron: local for local, neuron in enumerate(old)}
        neurons = torch.tensor([position[neuron] for neuron in new], dtype=torch.long)
        for path in row.input_paths(layer, "ffn"):
            _select(state, f"{path}.weight", row.input_axis, neurons)
            if before.ffn_input_bias:
                _select(state, f"{path}.bias", 0, neurons)
        _select(state, f"{output}.weight", row.output_axis, neurons)
    _finish_output(
        state,
        output,
        before.hidden_size,
        is_empty=not new,
        adds_bias=after.layers[layer].has_ffn
        and after.ffn_output_bias
        and not before.ffn_output_bias,
    )


def _finish_output(
    state: dict[str, Tensor], path: str, hidden_size: int, *, is_empty: bool, adds_bias: bool
) -> None:
    """An output projection without inputs is its bias; one may gain a bias."""
    if adds_bias:
        like = next(iter(state.values()))
        state[f"{path}.bias"] = like.new_zeros(hidden_size)
    if is_empty:
        _drop(state, [path], ("weight",))


def _drop(state: dict[str, Tensor], paths: list[str], kinds: tuple[str, ...]) -> None:
    for path in paths:
        for kind in kinds:
            state.pop(f"{path}.{kind}", None)


def _select(state: dict[str, Tensor], key: str, axis: int, index: Tensor) -> None:
    state[key] = state[key].index_select(axis, index.to(state[key].device))


def remove(
    model: PreTrainedModel, plan: PruningPlan, *, output_biases: bool = False
) -> PreTrainedModel:
    """A smaller model without the parts that a plan removes.

    Type, device, training flag, frozen parameters, tied embeddings and the attention implementation
    carry over; gradient checkpointing is off. A model that is already pruned may be pruned further;
    a plan whose units are already gone changes nothing.

    Args:
        model: Dense or pruned model; it is not changed.
        plan: What stays, by original index.
        output_biases: Give output projections a bias (of zeros) where the family has none.

    Returns:
        A model of the family's pruned class; a gated model keeps the gates of the heads that stay.

    Raises:
        UsageError: if the plan does not fit the model, the model carries a mask, or its weights are
            quantised or not laid out as the family's are.
        CheckpointError: if the result does not compute what the masked model computes.
    """
    refuse_hooks(model, "pruned")
    row, before = anatomy_of(model.config), structure_of(model.config)
    check_layout(model)
    plan.check_fits(before)
    after = before.reduced_to(plan.kept)
    if output_biases:
        after = after.model_copy(update={"attention_output_bias": True, "ffn_output_bias": True})
    config = pruned_config(model.config, after, plan.provenance())
    source = model
    if plan.weights:
        source = copy.deepcopy(model)
        zero_weights(source, plan)
    state = slice_state_dict(
        source.state_dict(), row, before, after, keeps_norms=norm_stays(model.config)
    )
    pruned = rebuild(model, config, state)
    check_agreement(source, pruned, plan)
    return pruned


def probe_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two random sequences, one with hidden positions, on the model's device.

    Hidden positions matter: without an explicit mask another kernel runs, under which some wrong
    key/value groupings give the right logits. Position 0 stays visible, as a row that sees nothing
    is NaN under eager attention in float64.
    """
    length = min(7, context_length(model.config) or 7)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (2, length), generator=generator)
    attention_mask = torch.ones_like(ids)
    attention_mask[1, 1 : 1 + length // 3] = 0
    return {"input_ids": ids.to(model.device), "attention_mask": attention_mask.to(model.device)}


@torch.no_grad()
def check_agreement(model: PreTrainedModel, pruned: PreTrainedModel, plan: PruningPlan) -> float:
    """Compare a pruned model with its masked twin on a random input.

    Half-precision models are compared in float32: their own rounding would hide wrong units.

    Args:
        model: The model before pruning, with single weights already zeroed.
        pruned: What surgery made of it.
        plan: The plan in between.

    Returns:
        Largest absolute difference of the logits at positions that are not padding.

    Raises:
        CheckpointError: if it exceeds the tolerance.
    """
    inputs = probe_inputs(model)
    visible = inputs["attention_mask"].bool()
    gates = plan_gates(structure_of(model.config), plan)
    with evaluating(model), in_float32(model), gate_units(model, gates):
        masked_logits = model(**inputs).logits[visible].double()
    with evaluating(pruned), in_float32(pruned):
        logits = pruned(**inputs).logits[visible].double()
    difference = float((masked_logits - logits).abs().max())
    bound = _TOLERANCE * max(1.0, float(masked_logits.abs().max()))
    if not difference <= bound:
        raise CheckpointError(
            f"the pruned model differs from the masked one by {difference:.3g} in a logit, "
            f"more than {bound:.3g}",
            "Nothing was written. Either this model does not lay out its weights as its family "
            "does, or this is a defect in the surgery: use form='mask', and report both.",
        )
    return difference
