"""From the methods that a spec names to what they change, all of it checked before any work."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sentinel_research import distributed, registry
from sentinel_research.errors import UsageError
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.specs import Methods, Spec


def check_methods(methods: Methods, where: str = "recover.methods") -> dict[str, Spec]:
    """The options of every method, as validated specs.

    Args:
        methods: Names with options.
        where: Key of the methods in the recipe, for messages.

    Raises:
        UsageError: for an unknown method or option, a value out of range, or methods that
            exclude each other.
    """
    from sentinel_research.recipe import parse

    plugins = {name: registry.get("recoveries", name) for name in methods}
    for name, plugin in plugins.items():
        for other in plugin.excludes:
            if other in plugins:
                raise UsageError(
                    f"`{where}`: '{name}' and '{other}' exclude each other: {plugin.why_excluded}",
                    "leave one of them out, or compare the two as variants of `recover`",
                )
    if (pruning := [name for name, plugin in plugins.items() if plugin.prunes])[1:]:
        raise UsageError(
            f"`{where}`: {' and '.join(pruning)} each choose the masks while training",
            "take one of them, or compare them as variants of `recover`",
        )
    found = {}
    for name, plugin in plugins.items():
        assert plugin.options is not None  # every recovery is registered with a spec
        found[name] = parse(plugin.options, dict(methods[name]), f"{where}.{name}")
    return found


def prunes_itself(methods: Methods) -> bool:
    """Whether one of the methods starts from the dense model and prunes it while training."""
    return any(registry.get("recoveries", name).prunes for name in methods)


def check_divided(methods: Methods) -> None:
    """Refuse methods that need whole weights while they train, where each process has a part.

    Raises:
        UsageError: for one that prunes while it trains, or trains with rounded weights.
    """
    if not distributed.divides_weights():
        return
    for name, options in methods.items():
        if registry.get("recoveries", name).prunes or options.get("when") == "throughout":
            _refuse_parts(name)


def _refuse_parts(name: str) -> None:
    raise UsageError(
        f"`{name}` changes or reads whole weights while it trains, and FSDP divides them",
        "start the processes without FSDP, or prune first and recover with `full` or `lora`",
    )


def adjust(inputs: RecoveryInputs) -> tuple[RecoveryInputs, list[Adjustment]]:
    """Call the methods of a recovery in their order.

    Args:
        inputs: With the model as it is now; methods change it.

    Returns:
        The inputs with the model that will be trained, and every method's adjustment.

    Raises:
        UsageError: see `check_methods`; or a method cannot work on this model, or two methods
            want phases.
    """
    made: dict[str, Adjustment] = {}
    for name, options in check_methods(inputs.spec.methods).items():
        one: Adjustment = registry.get("recoveries", name)(inputs, options)
        if one.model is not None:
            inputs = replace(inputs, model=one.model)
        if distributed.divides_weights() and (one.changing or one.callbacks):
            _refuse_parts(name)
        made[name] = one
    divides = [name for name, one in made.items() if one.phases]
    if divides[1:]:
        raise UsageError(
            f"two of the methods {', '.join(inputs.spec.methods)} divide the training into phases",
            "take one of them",
        )
    prunes = [name for name in made if registry.get("recoveries", name).prunes]
    if divides and prunes and divides != prunes:
        raise UsageError(
            f"'{divides[0]}' divides the training into phases, and '{prunes[0]}' changes masks on "
            "a schedule over the whole of it",
            "leave one of them out, or compare the two as variants of `recover`",
        )
    return inputs, list(made.values())


def merged_arguments(made: list[Adjustment]) -> Mapping[str, Any]:
    """The forward arguments of all methods together."""
    return {key: value for one in made for key, value in one.forward_arguments.items()}
