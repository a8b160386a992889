"""The causal LM with a mixer slot; importing this package registers it with the auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from sentinel_research.models.sentinel.configuration import MIXERS, SentinelConfig
from sentinel_research.models.sentinel.modeling import SentinelForCausalLM, SentinelModel

AutoConfig.register(SentinelConfig.model_type, SentinelConfig)
AutoModel.register(SentinelConfig, SentinelModel)
AutoModelForCausalLM.register(SentinelConfig, SentinelForCausalLM)

__all__ = ["MIXERS", "SentinelConfig", "SentinelForCausalLM", "SentinelModel"]
