"""One causal LM for every mixer: embedding, pre-norm blocks, gated MLP, tied head.

The attention, the norms, the MLP and the rotary positions are transformers' LLaMA modules, under
their names, so that a model with attention in every layer is LLaMA to the bit.

Reference: Touvron et al. 2023, https://arxiv.org/abs/2302.13971.
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)
from transformers.utils.generic import (
    TransformersKwargs,
    can_return_tuple,
    merge_with_config_defaults,
)
from transformers.utils.output_capturing import capture_outputs

from sentinel_research.errors import UsageError
from sentinel_research.models.agency.attach import OUTPUT_NAME, attach_gate
from sentinel_research.models.agency.gate import HeadGate
from sentinel_research.models.sentinel.cache import LAYER_TYPE
from sentinel_research.models.sentinel.configuration import ATTENTION, SentinelConfig
from sentinel_research.models.sentinel.masks import layer_masks
from sentinel_research.models.sentinel.resolvent_mixer import ResolventMixer
from sentinel_research.specs import AgencySpec


class SentinelDecoderLayer(GradientCheckpointingLayer):
    """x + mixer(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.mixer_name = config.mixers[layer_idx]
        if self.mixer_name in ATTENTION:
            self.self_attn = LlamaAttention(config, layer_idx)
            if self.mixer_name == "agency":
                spec = AgencySpec.model_validate(config.agency)
                heads = config.num_attention_heads, config.head_dim
                gate = HeadGate(*heads, config.hidden_size, spec)
                attach_gate(self.self_attn, OUTPUT_NAME, gate)
        else:
            self.mixer = ResolventMixer(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch seq hidden"],
        attention_mask: Tensor | None = None,
        recurrent_mask: Tensor | None = None,
        links: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Float[Tensor, "batch seq hidden"]:
        """One block; see `SentinelModel.forward`."""
        normed = self.input_layernorm(hidden_states)
        if self.mixer_name in ATTENTION:
            mixed, _ = self.self_attn(
                normed, attention_mask=attention_mask, past_key_values=past_key_values, **kwargs
            )
        else:
            mixed = self.mixer(normed, past_key_values, recurrent_mask, links)
        hidden_states = hidden_states + mixed
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class SentinelPreTrainedModel(PreTrainedModel):
    """What transformers needs to know about these models."""

    config_class = SentinelConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SentinelDecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    # of the class, for a mixer may be recurrent; a model says it of itself
    _is_stateful = True
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": SentinelDecoderLayer,
        "attentions": LlamaAttention,
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # keys and values can be rolled back, as decoding with an assistant does
        self._is_stateful = LAYER_TYPE in config.layer_types

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do nothing, see the configuration class."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fill a module that no checkpoint filled; children come before their parents."""
        super()._init_weights(module)
        if isinstance(module, ResolventMixer | HeadGate):
            module.reset_parameters()


class SentinelModel(SentinelPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            [SentinelDecoderLayer(config, index) for index in range(config.num_hidden_layers)]
        )
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.has_attention = config.has_attention
        if self.has_attention:
            self.rotary_emb = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch seq hidden"] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        """Run the blocks.

        Args:
            input_ids: Tokens, exclusive with `inputs_embeds`.
            attention_mask: 1 for tokens, 0 for padding, over the past and these positions.
            position_ids: For rotary positions; counted from the cache by default. Attention keeps
                sequences packed into one apart where they restart, a resolvent does not.
            past_key_values: Keys and values of attention layers, states of the others.
            inputs_embeds: Embedded tokens.
            use_cache: Return a cache.
            **kwargs: What transformers' attention functions take.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        # what is read from both sides has no past to go on from
        if use_cache and past_key_values is None and not self.config.resolvent_bidirectional:
            past_key_values = DynamicCache(config=self.config)
        if self.has_attention:
            if position_ids is None:
                past = past_key_values.get_seq_length() if past_key_values is not None else 0
                position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
                position_ids = (position_ids + past)[None]
            kwargs["position_embeddings"] = self.rotary_emb(inputs_embeds, position_ids)
        masks = layer_masks(
            self.config, inputs_embeds, attention_mask, past_key_values, position_ids
        )
        hidden_states = inputs_embeds
        for layer in self.layers:
            hidden_states = layer(hidden_states, **masks, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embedding."""
        return self.embed_tokens


class SentinelForCausalLM(SentinelPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head.

    Args:
        config: Sizes and mixers.

    Raises:
        UsageError: for a bidirectional resolvent, which would show the model its own targets.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: SentinelConfig) -> None:
        if config.resolvent_bidirectional:
            raise UsageError(
                "`resolvent_bidirectional` reads the tokens that a causal LM is to predict",
                "Leave it false, or use SentinelModel as an encoder.",
            )
        super().__init__(config)
        self.model = SentinelModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(  # type: ignore[misc]
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch seq hidden"] | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        """Logits, and the mean cross-entropy in nats if there are labels.

        Args:
            input_ids: See `SentinelModel.forward`, as for what follows.
            attention_mask: See there.
            position_ids: See there.
            past_key_values: See there.
            inputs_embeds: See there.
            labels: The input's tokens themselves; -100 is not scored.
            use_cache: See there.
            logits_to_keep: How many positions from the end get logits, or which; 0 for all.
            **kwargs: What transformers' loss and attention functions take.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
