"""A model over several devices, the processor's memory and the disk, for measuring only.

Accelerate's big model inference [1]: whole layers have a place, and what is in the processor's
memory or on the disk beside GPUs comes to the first of them while it is computed.

Reference: [1] https://huggingface.co/docs/accelerate/concept_guides/big_model_inference.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from sentinel_research import distributed
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import spec_of
from sentinel_research.models.anatomy import family_of
from sentinel_research.specs import ModelSpec

_RECURRENT = ("mamba", "mamba2", "sentinel")
_WITHOUT = "leave `device_map` out, or measure it on one device"


def check_placement(spec: ModelSpec, config: Mapping[str, Any]) -> None:
    """Refuse a place for what has to be whole on one device; nothing without `device_map`.

    Args:
        spec: With `device_map`, or without.
        config: The checkpoint's `config.json`.

    Raises:
        UsageError: for several processes, a GPU that is not there, or weights that are stored in a
            few bits.
    """
    if spec.device_map is None:
        return
    named = spec.device_map.values() if isinstance(spec.device_map, dict) else spec.max_memory or ()
    for gpu in (int(name) for name in named if str(name).isdigit()):
        if gpu >= torch.cuda.device_count():
            raise UsageError(
                f"GPU {gpu} was given a part of the model, and {torch.cuda.device_count()} CUDA "
                "devices are visible",
                "name GPUs that are there, cpu or disk",
            )
    if distributed.num_processes() > 1:
        raise UsageError(
            f"`device_map` places one model on all devices, and {distributed.num_processes()} "
            "processes were started",
            "start one process; it uses all GPUs",
        )
    if config.get("quantization_config") is not None:
        raise UsageError(
            "`device_map` moves layers between devices, and these weights are stored in a few bits",
            _WITHOUT,
        )


def placing(spec: ModelSpec) -> dict[str, Any]:
    """What transformers' `from_pretrained` is told of places."""
    if spec.device_map is None:
        return {}
    # JSON has no numbers for keys
    limits = {
        int(name) if name.isdigit() else name: limit
        for name, limit in (spec.max_memory or {}).items()
    }
    return {"device_map": spec.device_map, "max_memory": limits or None}


def check_placed(model: PreTrainedModel) -> None:
    """Refuse a placed model that would not compute what it computes on one device.

    Args:
        model: Loaded with a `device_map`.

    Raises:
        UsageError: for layers with states or gates, which read the weights of others, or for an
            embedding that is not in memory.
    """
    if family_of(model.config) in _RECURRENT or spec_of(model.config) is not None:
        raise UsageError(
            f"`device_map` is for layers of attention, and {type(model).__name__} has others",
            _WITHOUT,
        )
    if model.device.type == "meta":
        raise UsageError(
            "`device_map` left the embeddings outside of every device's memory",
            "allow the first device more in `max_memory`, or name places of your own",
        )


def places(model: PreTrainedModel) -> dict[str, int] | None:
    """How many parts of a model are at which place; None where it was not spread out."""
    found = getattr(model, "hf_device_map", None)
    return None if found is None else dict(Counter(str(place) for place in found.values()))


def num_computing(model: PreTrainedModel) -> int:
    """Devices that compute; what is offloaded is computed by the first of them."""
    found = set(places(model) or ())
    return len(found - {"cpu", "disk"}) or 1
