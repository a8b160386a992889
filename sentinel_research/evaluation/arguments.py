"""The arguments of `lm_eval --model sentinel --model_args ...` that are ours."""

from collections.abc import Mapping
from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.recipe import parse
from sentinel_research.specs import CalibrationSpec, PruneSpec

_PRUNE = {
    "prune_fraction": "fraction",
    "prune_granularity": "granularity",
    "prune_scope": "scope",
    "prune_budget": "budget",
    "prune_normalise": "normalise",
    "prune_form": "form",
    "prune_compensate": "compensate",
    "prune_min_per_layer": "min_per_layer",
    "prune_seed": "seed",
}
_CALIBRATION = {
    "calibration": "corpus",
    "calibration_task": "task",
    "calibration_sequences": "num_sequences",
    "calibration_length": "sequence_length",
    "calibration_seed": "seed",
}
HFLM_LOADING = (
    "parallelize",
    "tp_plan",
    "peft",
    "delta",
    "autogptq",
    "gptqmodel",
    "gguf_file",
    "quantization_config",
)
"""Options of HFLM that change how weights are loaded: then HFLM loads them."""
PLACING_ARGUMENTS = ("max_memory_per_gpu", "max_cpu_memory")
"""HFLM's limits of what a model that is spread out may take."""
PRUNING_ARGUMENTS = ("prune", *_PRUNE, *_CALIBRATION)
"""Every argument that `prune_spec_from_args` takes."""

PRECISION_ARGUMENTS = ("bits", "activations")
"""Every argument that says in what a model is held; fields of ModelSpec."""


def check_precision_arguments(
    bits: Mapping[str, Any], others: Mapping[str, Any], pretrained: Any
) -> None:
    """Refuse bits of a model that the package's own loader does not load.

    Args:
        bits: Those of `PRECISION_ARGUMENTS` that are given.
        others: The other arguments.
        pretrained: Name, or a loaded model.

    Raises:
        UsageError: for a loaded model, or together with an option that changes how HFLM loads.
    """
    if not bits:
        return
    given = " and ".join(f"{name}={value}" for name, value in bits.items())
    if not isinstance(pretrained, str):
        raise UsageError(
            f"{given} was given with a model that is already loaded",
            "store it first: sentinel_research.quantisation.store_small(model, 8)",
        )
    clashes = [name for name in HFLM_LOADING if others.get(name)]
    if clashes:
        raise UsageError(
            f"{given} and {', '.join(clashes)} were given, and both change how weights are held",
            "leave one of them out; a folder that `sentinel` stored in a few bits needs neither",
        )


def placing_from_args(arguments: dict[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Take `device_map` and its limits out of `--model_args`.

    Args:
        arguments: All model arguments; those of places are removed from it.
        others: What was taken out before, and does not go with places.

    Returns:
        The fields of ModelSpec; none without `device_map`.

    Raises:
        UsageError: together with what needs a model whole, or with HFLM's own ways to load.
    """
    if not arguments.get("device_map"):
        return {}
    clashes = [name for name in (*others, *HFLM_LOADING) if others.get(name) or arguments.get(name)]
    if clashes:
        raise UsageError(
            f"device_map spreads a model over devices, and {', '.join(clashes)} was given, which "
            "needs it whole or loads it otherwise",
            "leave one of them out",
        )
    from accelerate.utils import get_max_memory

    limits = {name: arguments.pop(name, None) for name in PLACING_ARGUMENTS}
    found = {"device_map": arguments.pop("device_map")}
    if not any(limits.values()):
        return found
    per_gpu, of_memory = (limits[name] for name in PLACING_ARGUMENTS)
    # what a limit does not name would not be used at all
    memory = {**get_max_memory(), **({"cpu": of_memory} if of_memory else {})}
    own = {name: per_gpu for name in memory if name != "cpu" and per_gpu}
    return {**found, "max_memory": {str(name): limit for name, limit in {**memory, **own}.items()}}


def prune_spec_from_args(arguments: dict[str, Any]) -> PruneSpec | None:
    """Take the pruning arguments out of `--model_args`.

    Args:
        arguments: All model arguments; the pruning ones are removed from it. `prune` is the scorer,
            `calibration` a corpus, `calibration_task` a task; the others are named after the fields
            of PruneSpec and CalibrationSpec. Several kinds of unit are joined by a plus sign, as
            lm-eval splits arguments at commas: `prune_granularity=head+neuron`.

    Returns:
        The spec, or None if nothing is to be pruned.

    Raises:
        UsageError: for a value that is not accepted, or pruning options without `prune`.

    Example:
        >>> arguments = {"prune": "random", "prune_fraction": 0.5, "dtype": "float32"}
        >>> prune_spec_from_args(arguments).fraction, arguments
        (0.5, {'dtype': 'float32'})
    """
    given = [name for name in PRUNING_ARGUMENTS if name in arguments]
    scorer = arguments.pop("prune", None)
    fields = _taken(arguments, _PRUNE)
    calibration = _taken(arguments, _CALIBRATION)
    if scorer is None:
        if fields or calibration:
            raise UsageError(
                f"model_args give {', '.join(given)} but no scorer",
                "add prune=SCORER, for example prune=magnitude_l2,prune_fraction=0.25",
            )
        return None
    if "fraction" not in fields:
        raise UsageError(
            f"prune={scorer} needs a fraction", "add prune_fraction=0.25 (any number in [0, 1])"
        )
    if isinstance(fields.get("granularity"), str) and "+" in fields["granularity"]:
        fields["granularity"] = tuple(fields["granularity"].split("+"))
    if calibration:
        fields["calibration"] = parse(CalibrationSpec, calibration, "model_args")
    return parse(PruneSpec, {"scorer": scorer, **fields}, "model_args")


def _taken(arguments: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Values by field, taken out of the arguments."""
    return {field: arguments.pop(name) for name, field in names.items() if name in arguments}


def kept_bytes(kv_cache_mib: Any) -> float:
    """The argument `kv_cache_mib` in bytes.

    Raises:
        UsageError: if it is no number from 0 on.
    """
    if isinstance(kv_cache_mib, int | float) and kv_cache_mib >= 0:
        return float(kv_cache_mib) * 2**20
    raise UsageError(
        f"kv_cache_mib is {kv_cache_mib!r}",
        "give the MiB that shared beginnings may take, such as kv_cache_mib=256; 0 shares none",
    )
