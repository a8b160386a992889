"""Put a removed unit's mean output in its place, as a bias of the output projection.

Reference: [1] An et al. 2023, FLAP, section 3.3 (baseline bias compensation),
https://arxiv.org/abs/2312.11983.
"""

import copy

import torch
from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.calibrate import Totals
from sentinel_research.pruning.gates import plan_gates
from sentinel_research.pruning.meters import Need
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.surgery import remove

MEAN_OUTPUTS: tuple[Need, ...] = (("channel_moments", "head"), ("channel_moments", "neuron"))
"""The statistics that compensation reads."""


@torch.no_grad()
def add_mean_outputs(model: PreTrainedModel, plan: PruningPlan, totals: Totals) -> PreTrainedModel:
    """A copy of the model whose output biases hold what the units that will go hand on average.

    The bias gains `W (m * E_t x)`, with `m` 1 for channels of units that go. Families without
    output biases get them (the copy is then of the pruned class, with nothing removed). Blocks that
    go as a whole are not compensated: their bias goes with them.

    Args:
        model: The model that the plan is for; it is not changed.
        plan: What will be removed. It is not applied here.
        totals: With `MEAN_OUTPUTS`.

    Returns:
        The copy. Masking or removing `plan`'s units in it gives the compensated model.
    """
    structure, row = structure_of(model.config), anatomy_of(model.config)
    if structure.attention_output_bias and structure.ffn_output_bias:
        result = copy.deepcopy(model)
    else:
        result = remove(model, make_plan(structure), output_biases=True)
    gates = plan_gates(structure, plan)
    for kind, block in (("head", "attention"), ("neuron", "ffn")):
        means = [layer[0] / totals.num_tokens for layer in totals.layers("channel_moments", kind)]
        outputs = row.outputs(result, block)  # type: ignore[arg-type]
        for layer, gate in enumerate(gates.get(kind, [])):  # type: ignore[call-overload]
            parts = plan.kept[layer]
            present = parts.has_attention if kind == "head" else parts.has_ffn
            if not len(gate) or not present:
                continue
            width = structure.head_dim if kind == "head" else 1
            gone = (1 - gate).repeat_interleave(width).double()
            stored = outputs[layer].get_parameter("weight").double().cpu()
            weight = stored if row.weight == "linear" else stored.T
            bias = outputs[layer].get_parameter("bias")
            bias.add_((weight @ (gone * means[layer])).to(bias))
    return result
