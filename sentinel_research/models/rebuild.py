"""Build a model anew around weights that another one had."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel


def rebuild(
    model: PreTrainedModel,
    config: PretrainedConfig,
    state: Mapping[str, Tensor],
    beside: Mapping[str, nn.Module] | None = None,
) -> PreTrainedModel:
    """A model of another class or shape that takes over whatever fits.

    Type, device, training flag, frozen parameters, tied embeddings, generation settings and buffers
    outside the state dict carry over; gradient checkpointing is off.

    Args:
        model: The model before; it is not changed.
        config: Of the model to build.
        state: Its complete state dict; the tensors become the new model's own.
        beside: Modules that become part of the new model, by the prefix of their names in it.

    Returns:
        The new model.
    """
    with torch.device("meta"):
        built: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, attn_implementation=config._attn_implementation
        )
    built.load_state_dict(state, strict=True, assign=True)
    built.tie_weights()
    # buffers outside the state dict (rotary frequencies) are still on the meta device
    outside = dict(built.named_buffers()).keys() - state.keys()
    for prefix, module in {"": model, **(beside or {})}.items():
        for name, buffer in module.named_buffers():
            owner, _, attribute = f"{prefix}{name}".rpartition(".")
            if f"{prefix}{name}" in outside:
                setattr(built.get_submodule(owner), attribute, buffer.detach().clone())
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    for name, parameter in built.named_parameters():
        parameter.requires_grad_(name not in frozen)
    built.generation_config = copy.deepcopy(model.generation_config)
    return built.train(model.training)
