"""The causal LM with a mixer slot; importing this package registers it with the auto classes."""

from transformers import AutoModel

from sentinel_research.models.derived import publish
from sentinel_research.models.sentinel.configuration import MIXERS, SentinelConfig
from sentinel_research.models.sentinel.modeling import SentinelForCausalLM, SentinelModel

publish(__name__, SentinelConfig, SentinelForCausalLM)
AutoModel.register(SentinelConfig, SentinelModel)

__all__ = ["MIXERS", "SentinelConfig", "SentinelForCausalLM", "SentinelModel"]
