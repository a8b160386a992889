"""The three registries: scorers, architectures, recoveries.

Each is an `lm_eval.api.registry.Registry` of `Plugin` entries. Built-in entries are lazy
(`"module:object"`), entries of other packages come through entry points of the groups
`sentinel_research.scorers`, `sentinel_research.architectures` and `sentinel_research.recoveries`.
There is no fourth registry: lm-eval has its own for models and metrics, and tasks are YAML.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lm_eval.api.registry import Registry

from sentinel_research.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Plugin:
    """A registered function with what `sentinel ls` prints about it."""

    name: str
    function: Callable[..., Any]
    summary: str
    """One line for people."""
    reference: str
    """Where the method comes from: a paper with its equation, or a URL."""
    calibrated: bool = False
    """True if the function needs calibration text."""
    seeded: bool = False
    """True if the result depends on the seed itself, so that it is worth repeating over seeds."""
    units: tuple[str, ...] = ()
    """For scorers: the kinds of unit that it can score."""
    needs: tuple[str, ...] = ()
    """For scorers: the calibration statistics that it reads (`pruning.meters`)."""
    solver: bool = False
    """True for a scorer that chooses and updates weights itself, matrix by matrix."""
    options: type[Any] | None = None
    """For recoveries: the spec of their options."""
    prunes: bool = False
    """True for a recovery that starts from the dense model and prunes it while it trains."""
    costs_quality: bool = False
    """For recoveries: True if the dense model has to go through it too, to tell its cost apart."""
    excludes: tuple[str, ...] = ()
    """For recoveries: others that cannot be combined with it."""
    why_excluded: str = ""
    """The reason, for messages."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


_BUILT_IN = {
    "scorers": {
        name: f"sentinel_research.pruning.scorers.{module}:{name}"
        for module, names in {
            "random": ("random",),
            "magnitude": (
                "magnitude_l1",
                "magnitude_l2",
            ),
            "attention": (
                "entropy_low",
                "entropy_high",
                "redundancy",
            ),
            "gradients": (
                "gate_gradient",
                "taylor",
                "taylor_signed",
                "fisher",
                "taylor_weights",
            ),
            "activations": (
                "activation_norm",
                "wanda",
                "flap",
            ),
            "blocks": ("layer_influence",),
            "leave_one_out": ("leave_one_out",),
            "sparsegpt": ("sparsegpt",),
        }.items()
        for name in names
    },
    "architectures": {
        name: f"sentinel_research.models.architectures:{name}"
        for name in (
            "gpt2",
            "opt",
            "bloom",
            "gpt_neox",
            "llama",
            "mistral",
            "qwen2",
            "mamba",
            "mamba2",
            "sentinel",
        )
    },
    "recoveries": {
        name: f"sentinel_research.recoveries.{name}:{name}"
        for name in (
            "adaptive_masking",
            "component_lr",
            "distill",
            "full",
            "gates",
            "gradual",
            "heads",
            "lora",
            "per_head_lr",
            "progressive",
            "quantise",
            "regrow",
            "rounds",
        )
    },
}

_KIND = {"scorers": "scorer", "architectures": "architecture", "recoveries": "recovery"}


def _filled(group: str) -> Registry:
    registry: Registry = Registry(_KIND[group])
    for name, target in _BUILT_IN[group].items():
        registry.register(name, target=target)
    for entry in importlib.metadata.entry_points(group=f"sentinel_research.{group}"):
        registry.register(entry.name, target=entry)
    return registry


REGISTRIES: dict[str, Registry] = {group: _filled(group) for group in _KIND}


def names(group: str) -> list[str]:
    """The registered names of one group (`scorers`, `architectures` or `recoveries`), sorted."""
    return sorted(REGISTRIES[group])


def get(group: str, name: str) -> Plugin:
    """Look up one plugin.

    Args:
        group: `scorers`, `architectures` or `recoveries`.
        name: The registered name.

    Returns:
        The plugin; its module is imported on first use.

    Raises:
        UsageError: if the name is not registered.
    """
    if name not in names(group):
        known = (
            f"{did_you_mean(name, names(group))} See: sentinel ls {group}"
            if names(group)
            else f"No {_KIND[group]} is installed yet: leave it out of the recipe."
        )
        raise UsageError(f"unknown {_KIND[group]} '{name}'", known)
    return REGISTRIES[group].get(name)


def _register(group: str, **fields: Any) -> Callable[[Callable[..., Any]], Plugin]:
    def decorate(function: Callable[..., Any]) -> Plugin:
        plugin = Plugin(function=function, **fields)
        # a built-in module that is imported directly resolves its own placeholder
        lazy = f"{function.__module__}:{function.__name__}"
        if _BUILT_IN[group].get(plugin.name) != lazy:
            REGISTRIES[group].register(plugin.name, target=plugin)
        return plugin

    return decorate


def scorer(
    name: str,
    *,
    summary: str,
    reference: str,
    units: tuple[str, ...] = ("head",),
    needs: tuple[str, ...] = (),
    seeded: bool = False,
    solver: bool = False,
) -> Callable[[Callable[..., Any]], Plugin]:
    """Register a scorer: a function `(ScoringInputs) -> list of per-layer importance tensors`.

    Example:
        >>> @scorer("mine", summary="the first heads matter most", reference="none")
        ... def mine(inputs):
        ...     return [-torch.arange(float(n)) for n in inputs.num_units]
    """
    return _register(
        "scorers",
        name=name,
        summary=summary,
        reference=reference,
        units=units,
        needs=needs,
        calibrated=bool(needs) or solver,
        seeded=seeded,
        solver=solver,
    )


def architecture(
    name: str, *, summary: str, reference: str
) -> Callable[[Callable[..., Any]], Plugin]:
    """Register an architecture: a function `(config: dict, tokenizer) -> untrained causal LM`."""
    return _register("architectures", name=name, summary=summary, reference=reference)


def recovery(
    name: str,
    *,
    summary: str,
    reference: str,
    options: type[Any],
    prunes: bool = False,
    costs_quality: bool = False,
    excludes: tuple[str, ...] = (),
    why_excluded: str = "",
) -> Callable[[Callable[..., Any]], Plugin]:
    """Register a recovery method: a function `(RecoveryInputs, options) -> Adjustment`.

    Args:
        name: How recipes name it.
        summary: One line for people.
        reference: A paper with its equation, or a URL.
        options: The spec (`sentinel_research.specs.Spec`) of its options.
        prunes: Whether it starts from the dense model and prunes it while it trains.
        costs_quality: Whether it costs quality by itself: the dense model goes through it too.
        excludes: Methods that cannot be combined with it.
        why_excluded: The reason, for the message.
    """
    return _register(
        "recoveries",
        name=name,
        summary=summary,
        reference=reference,
        options=options,
        prunes=prunes,
        costs_quality=costs_quality,
        excludes=excludes,
        why_excluded=why_excluded,
    )
