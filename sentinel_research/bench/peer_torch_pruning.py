"""Torch-Pruning, used as its own LLM example does [1].

Differences, all in its favour: the graph is traced without a KV cache (with one, its search for
what belongs together does not end on LLaMA), and the heads are named to its dependency graph
(its pruner removes no heads unless it also removes width).

Reference: [1] https://github.com/VainF/Torch-Pruning/blob/master/examples/LLMs/prune_llm.py
"""

import importlib.metadata
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import head_columns, structure_of
from sentinel_research.pruning.plan import PruningPlan


def version() -> str:
    """Package and version."""
    return f"torch-pruning {importlib.metadata.version('torch-pruning')}"


def with_linear(model: PreTrainedModel) -> PreTrainedModel:
    """Rewrite Conv1D layers as Linear ones, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            num_inputs, num_outputs = module.weight.shape
            linear = nn.Linear(num_inputs, num_outputs, device=model.device)
            linear.weight = nn.Parameter(module.weight.detach().T.contiguous())
            linear.bias = nn.Parameter(module.bias.detach().clone())
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, linear)
    return model


def _example(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.zeros(1, 8, dtype=torch.long, device=model.device)}


def _logits(output: Any) -> torch.Tensor:
    logits: torch.Tensor = output.logits
    return logits


def remove_heads(model: PreTrainedModel, plan: PruningPlan) -> None:
    """Remove the heads that a plan removes, in place.

    Key and value projections of grouped-query attention stay, as its own pruner leaves them.
    """
    import torch_pruning

    graph = torch_pruning.DependencyGraph().build_dependency(
        model, example_inputs=_example(model), output_transform=_logits, verbose=False
    )
    structure, row = structure_of(model.config), anatomy_of(model.config)
    attentions, outputs = row.attentions(model), row.outputs(model, "attention")
    for layer, (attention, output) in enumerate(zip(attentions, outputs, strict=True)):
        kept = plan.kept[layer].heads
        gone = [head for head in range(structure.num_heads) if head not in kept]
        group = graph.get_pruning_group(
            output,
            torch_pruning.prune_linear_in_channels,
            idxs=head_columns(structure, gone).tolist(),
        )
        if structure.group_size > 1:
            shared = (attention.k_proj, attention.v_proj)
            for index, (dependency, _) in enumerate(list(group)):
                if any(dependency.target.module is projection for projection in shared):
                    group[index] = (dependency, [])
        group.prune()
        _tell(attention, structure.head_dim, len(kept))


def _tell(attention: Any, head_dim: int, num_heads: int) -> None:
    """The attributes of an attention module that follow its heads."""
    if hasattr(attention, "split_size"):
        attention.num_heads, attention.split_size = num_heads, num_heads * head_dim
    else:
        attention.num_key_value_groups = num_heads // (attention.k_proj.out_features // head_dim)


def remove_by_ratio(model: PreTrainedModel, width_ratio: float) -> None:
    """Ask its pruner for half of the heads, and a share of the width, in place."""
    import torch_pruning

    structure, row = structure_of(model.config), anatomy_of(model.config)
    num_heads = {}
    for attention in row.attentions(model):
        if hasattr(attention, "q_proj"):
            num_heads[attention.q_proj] = structure.num_heads
            num_heads[attention.k_proj] = structure.num_kv_heads
            num_heads[attention.v_proj] = structure.num_kv_heads
        else:
            num_heads[attention.c_attn] = structure.num_heads
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example_inputs=_example(model),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2, group_reduction="mean"),
        output_transform=_logits,
        pruning_ratio=width_ratio,
        ignored_layers=[model.get_output_embeddings()],
        num_heads=num_heads,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
    )
    pruner.step()


def describe_in_config(model: PreTrainedModel, plan: PruningPlan) -> None:
    """Write the new shape into the configuration, which has one number for all layers."""
    attention: Any = anatomy_of(model.config).attentions(model)[-1]
    head_dim = structure_of(model.config).head_dim
    model.config.num_attention_heads = len(plan.kept[-1].heads)
    if hasattr(attention, "k_proj"):
        model.config.num_key_value_heads = attention.k_proj.out_features // head_dim
