"""Configuration of the causal LM with a mixer slot, with its size known before it is built."""

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PretrainedConfig

from sentinel_research.models.derived import auto_map, write_remote
from sentinel_research.specs import AgencySpec, GateMode

MIXERS = ("attention", "agency", "resolvent")
"""What can sit in the slot of a layer."""
ATTENTION = ("attention", "agency")
"""Those with heads, keys and values."""
_AGENCY: dict[str, Any] = {"gate": "static"}


@strict
class SentinelConfig(PretrainedConfig):
    """A decoder of pre-norm blocks whose sequence mixer is chosen layer by layer.

    With `attention` in every layer it is LLaMA, parameter for parameter; `agency` is attention with
    a gate per head. `resolvent` is the causal resolvent of `sentinel_research.ops.resolvent`; it
    reads no positions and has a state of fixed size. Attention has no limit of length either,
    beyond what rotary positions generalise to.

    Args:
        mixers: One name for all layers, or one per layer.
        vocab_size: Tokens.
        hidden_size: Width of the residual stream.
        intermediate_size: Neurons of the gated MLP.
        num_hidden_layers: Blocks.
        num_attention_heads: Query heads of an attention layer.
        num_key_value_heads: Key/value heads; by default as many as query heads.
        head_dim: Width of a head, even; by default hidden size / heads.
        resolvent_size: Channels of a resolvent layer; by default the hidden size.
        resolvent_conv_kernel: Taps of the depthwise convolution over the values; 0 for none.
        resolvent_min_width: Smallest eta, the reciprocal of the longest memory in positions.
        resolvent_bidirectional: Features from the whole sequence, by both sweeps. For encoders: the
            causal LM refuses it.
        hidden_act: Of the MLP.
        max_position_embeddings: What rotary positions were made for; not a limit.
        initializer_range: Standard deviation of linear maps and embeddings.
        rms_norm_eps: Of the norms.
        attention_dropout: On attention probabilities, in training.
        agency: An `AgencySpec` as JSON, for `agency` layers; by default static gates.
    """

    model_type = "sentinel"
    # a list: Trainer adds another to it when it validates
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    default_theta = 10000.0

    mixers: str | list[str] | tuple[str, ...] = "attention"
    vocab_size: int = 259
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    resolvent_size: int | None = None
    resolvent_conv_kernel: int = 4
    resolvent_min_width: float = 1e-3
    resolvent_bidirectional: bool = False
    hidden_act: str = "silu"
    max_position_embeddings: int = 8192
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    attention_dropout: int | float = 0.0
    mlp_bias: bool = False
    agency: dict[str, Any] | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = True
    rope_parameters: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.mixers, str):
            self.mixers = [self.mixers] * self.num_hidden_layers
        self.mixers = list(self.mixers)
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.resolvent_size is None:
            self.resolvent_size = self.hidden_size
        if self.agency is None and "agency" in self.mixers:
            self.agency = dict(_AGENCY)
        super().__post_init__(**kwargs)
        self.auto_map = auto_map("SentinelConfig", "SentinelForCausalLM")

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Do nothing: `auto_map` is fixed, transformers must not copy this module."""

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Save as transformers does, with the module that `auto_map` points to.

        Saving a model saves its configuration so, before anything is pushed to a hub.
        """
        super().save_pretrained(save_directory, *args, **kwargs)
        write_remote(Path(save_directory))

    def validate_architecture(self) -> None:
        """Refuse what cannot be built; transformers calls this after the fields are set."""
        unknown = [name for name in self.mixers if name not in MIXERS]
        if unknown:
            raise ValueError(f"unknown mixer '{unknown[0]}'; mixers: {', '.join(MIXERS)}")
        if len(self.mixers) != self.num_hidden_layers:
            raise ValueError(
                f"`mixers` names {len(self.mixers)} layers, `num_hidden_layers` is "
                f"{self.num_hidden_layers}; give one name for all, or one per layer"
            )
        if self.has_agency != (self.agency is not None):
            raise ValueError("`agency` belongs to layers whose mixer is `agency`")
        if self.has_agency and self.gate is None:
            raise ValueError(f"`agency` names no gate: {self.agency}")
        if not self.has_attention:
            return
        if self.num_attention_heads % (self.num_key_value_heads or 1):
            raise ValueError(
                f"{self.num_attention_heads} query heads cannot share "
                f"{self.num_key_value_heads} key/value heads equally"
            )
        if self.head_dim is None or self.head_dim % 2 or self.head_dim < 2:
            raise ValueError(
                f"rotary positions need an even head_dim, got {self.head_dim} (hidden size "
                f"{self.hidden_size}, {self.num_attention_heads} heads)"
            )

    def validate_layer_type(self) -> None:
        """Accept `resolvent`, which `cache` registers beside transformers' own types."""

    @property
    def layer_types(self) -> list[str]:
        """What transformers' caches keep for every layer."""
        return ["full_attention" if mixer in ATTENTION else mixer for mixer in self.mixers]

    @property
    def has_attention(self) -> bool:
        """Whether any layer has heads, keys and values."""
        return any(mixer in ATTENTION for mixer in self.mixers)

    @property
    def has_agency(self) -> bool:
        """Whether any layer has gates."""
        return "agency" in self.mixers

    @property
    def gate(self) -> GateMode | None:
        """The kind of gate of `agency` layers."""
        return None if self.agency is None else AgencySpec.model_validate(self.agency).gate

    def num_params(self, kind: Literal["all", "non_embedding"] = "all") -> int:
        """Parameters of the causal LM, a tied head counted once.

        Args:
            kind: `non_embedding` leaves out the embedding and the head.
        """
        e = self.hidden_size
        embeddings = self.vocab_size * e * (1 if self.tie_word_embeddings else 2)
        block = 2 * e + self._mlp_params()
        total = sum(self._mixer_params(mixer) + block for mixer in self.mixers) + e
        return total + (embeddings if kind == "all" else 0)

    def num_flops(self, sequence_length: int) -> int:
        """Operations of a forward pass over one sequence with logits at every position.

        As `torch.utils.flop_counter` counts: a multiply-add is two, attention is not halved for
        being causal, elementwise operations are left out; the resolvent's recursion is counted.

        Args:
            sequence_length: Tokens.
        """
        from sentinel_research.ops.resolvent.outputs import FORWARD_FLOPS

        e, n, channels = self.hidden_size, sequence_length, self.resolvent_size or 0
        assert self.head_dim is not None
        assert self.num_key_value_heads is not None
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        sweeps = 2 if self.resolvent_bidirectional else 1
        attention = 4 * e * (queries + keys) + 4 * n * queries
        mixers = {
            "attention": attention,
            "agency": attention + 2 * e * self.num_attention_heads * (self.gate == "input"),
            "resolvent": 2 * e * 6 * channels
            + 2 * self.resolvent_conv_kernel * channels
            + sweeps * FORWARD_FLOPS * channels,
        }
        block = 6 * e * self.intermediate_size
        layers = sum(mixers[mixer] + block for mixer in self.mixers)
        return n * (layers + 2 * e * self.vocab_size)

    def _mlp_params(self) -> int:
        biases = (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        return 3 * self.hidden_size * self.intermediate_size + biases

    def _mixer_params(self, mixer: str) -> int:
        e, channels = self.hidden_size, self.resolvent_size or 0
        assert self.head_dim is not None
        assert self.num_key_value_heads is not None
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        if mixer in ATTENTION:
            biases = (queries + 2 * keys + e) * self.attention_bias
            inputs = 1 + e * (self.gate == "input")
            gates = self.num_attention_heads * inputs * (mixer == "agency")
            return 2 * e * (queries + keys) + biases + gates
        # in and out projection, convolution, then hop bias, energy and width of every channel
        return (6 * e + self.resolvent_conv_kernel + 3) * channels
