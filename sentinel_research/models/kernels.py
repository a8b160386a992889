"""Which kernels compute a model's mixing of tokens, and which of them may be compared.

A time of a compiled kernel beside that of a loop in Python says nothing about architectures, so
comparisons of speed ask here first.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2
from transformers.utils.import_utils import is_mambapy_available

from sentinel_research.errors import UsageError
from sentinel_research.models.mamba import ScanMixer
from sentinel_research.models.sentinel.configuration import ATTENTION
from sentinel_research.models.sentinel.modeling import SentinelDecoderLayer
from sentinel_research.models.sentinel.resolvent_mixer import ResolventMixer
from sentinel_research.ops.resolvent import implementation_for

_Kind = Literal["compiled", "batched", "loop", "unknown"]
_KINDS: dict[str, _Kind] = {
    "numba": "compiled",
    "mamba_ssm": "compiled",
    "mambapy": "batched",
    "torch_chunked": "batched",
    "chunked": "batched",
    "torch_loop": "loop",
    "naive": "loop",
    "unknown": "unknown",
    # attention implementations of transformers; others are compiled kernels
    "eager": "batched",
}


def kernels_of(model: PreTrainedModel) -> dict[str, str]:
    """Name the kernel behind each kind of token mixing, on the model's present device.

    Args:
        model: Any causal language model of transformers.

    Returns:
        For Mamba `selective_scan`: `numba` (this package), `mamba_ssm` (fused, on a GPU), `mambapy`
        or `torch_loop`; for Mamba2 `state_space_duality`: `mamba_ssm` or `torch_chunked`; for the
        resolvent `resolvent`: one of its implementations; where there is attention `attention`:
        transformers' name of the implementation.
    """
    found: dict[str, str] = {}
    for module in model.modules():
        found.update(_kernel_of(module, model))
    return found or {"attention": model.config._attn_implementation}


def _kernel_of(module: nn.Module, model: PreTrainedModel) -> dict[str, str]:
    """What one module computes with; empty if it does not mix tokens by a scan."""
    if isinstance(module, ResolventMixer):
        return {"resolvent": implementation_for(model.device, module.implementation)}
    if isinstance(module, SentinelDecoderLayer) and module.mixer_name in ATTENTION:
        return {"attention": model.config._attn_implementation}
    if isinstance(module, ScanMixer) and model.device.type == "cpu":
        return {"selective_scan": "numba"}
    if isinstance(module, modeling_mamba.MambaMixer):
        plain = "mambapy" if module.use_mambapy and is_mambapy_available() else "torch_loop"
        return {"selective_scan": _library(modeling_mamba.mamba_selective_scan, plain)}
    if isinstance(module, modeling_mamba2.Mamba2Mixer):
        found = _library(modeling_mamba2.mamba2_chunk_scan, "torch_chunked")
        return {"state_space_duality": found}
    return {}


def _library(function: Callable[..., Any], plain: str) -> str:
    """What a function of transformers calls: its fused package, or its own code in torch."""
    state = inspect.getclosurevars(function).nonlocals
    if "is_new_implementation" not in state:
        return "unknown"
    return "mamba_ssm" if state["is_new_implementation"] else plain


def check_comparable(one: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Refuse to compare the speed of a compiled kernel with that of a loop in Python.

    Args:
        one: `kernels_of` one model.
        other: `kernels_of` the other.

    Raises:
        UsageError: if one of them loops and the other does not, or a kernel is not known.
    """
    names = [*one.values(), *other.values()]
    if "unknown" in names:
        raise UsageError(
            f"it is not known which kernels would be compared: {dict(one)} and {dict(other)}",
            "use the version of transformers that this package was tested with",
        )
    kinds = [{_KINDS.get(name, "compiled") for name in side.values()} for side in (one, other)]
    if ("loop" in kinds[0]) != ("loop" in kinds[1]):
        raise UsageError(
            f"a loop in Python is no match for a kernel: {dict(one)} and {dict(other)}",
            "load both with sentinel_research.load on the CPU, or install mamba-ssm for the GPU",
        )
