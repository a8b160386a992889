"""What tells the layers which positions are tokens, which padding, and what lies in the past."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedConfig
from transformers.masking_utils import create_causal_mask, create_recurrent_attention_mask

from sentinel_research.models.sentinel.cache import LAYER_TYPE


def layer_masks(
    config: PreTrainedConfig,
    inputs_embeds: Float[Tensor, "batch seq hidden"],
    attention_mask: Tensor | dict[str, Tensor | None] | None,
    past_key_values: Cache | None,
    position_ids: Int[Tensor, "batch seq"] | None,
) -> dict[str, Tensor | None]:
    """For attention layers, and the two of `ResolventMixer.forward`.

    Args:
        config: Of the model.
        inputs_embeds: For its shape and type.
        attention_mask: 1 for tokens, 0 for padding, over the past and these positions; or what
            `generate` makes of it for a static cache, by type of layer.
        past_key_values: The past.
        position_ids: Of these positions.

    Returns:
        The arguments of a decoder layer.
    """
    if isinstance(attention_mask, dict):
        # for a static cache `generate` makes the masks of both kinds beforehand
        causal_mask: Any = attention_mask.get("full_attention")
        recurrent_mask = whole = attention_mask.get(LAYER_TYPE)
    else:
        shared: dict[str, Any] = {
            "config": config,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
        }
        causal_mask = (
            create_causal_mask(**shared, position_ids=position_ids)
            if config.has_attention
            else None
        )
        recurrent_mask, whole = create_recurrent_attention_mask(**shared), attention_mask
    links = None
    if recurrent_mask is not None and whole is not None:
        links = _links(whole, recurrent_mask.shape[1]).to(inputs_embeds.dtype)
    return {"attention_mask": causal_mask, "recurrent_mask": recurrent_mask, "links": links}


def _links(mask: Tensor, length: int) -> Tensor:
    """1 where a position and the one before it are both tokens, for the last `length`."""
    if mask.shape[1] == length:
        # what comes before the first position is a cached token, or an empty state
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
    return mask[:, -length:] * mask[:, -length - 1 : -1]
