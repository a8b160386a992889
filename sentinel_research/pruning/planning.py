"""Make a pruning plan of given units, or read one from JSON, with errors for users. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from sentinel_research.errors import UsageError
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.structure import Structure


def make_plan(
    structure: Structure,
    heads: Sequence[Iterable[int]] | None = None,
    *,
    neurons: Sequence[Iterable[int]] | None = None,
    without: Mapping[Literal["attention", "ffn"], Iterable[int]] | None = None,
    weights: Mapping[str, WeightMask] | None = None,
    **origin: Any,
) -> PruningPlan:
    """A plan for a model of this structure.

    Args:
        structure: What the model has now.
        heads: Original indices of the heads that stay, per layer; None keeps all.
        neurons: Original indices of the neurons that stay, per layer; None keeps all.
        without: Layers whose attention or feed-forward block goes as a whole.
        weights: Single weights that are set to zero.
        **origin: `scorer`, `seed`, `fraction`, `scope`, `granularity`, `calibration`, `scores` ...

    Returns:
        The plan.

    Raises:
        UsageError: if a unit is named twice, out of range or already gone, the number of layers
            is wrong, or nothing would be left.

    Example:
        >>> from transformers import GPT2Config
        >>> from sentinel_research.models import structure_of
        >>> structure = structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=8))
        >>> make_plan(structure, [[0, 1, 3], [0, 1, 2, 3]]).removed
        {'head': ['L0H2']}
    """
    gone = {block: set((without or {}).get(block, ())) for block in ("attention", "ffn")}
    _check_layers(structure.num_layers, gone, {"heads": heads, "neurons": neurons})
    kept = []
    for index, layer in enumerate(structure.layers):
        has_attention = layer.has_attention and index not in gone["attention"]
        has_ffn = layer.has_ffn and index not in gone["ffn"]
        # the order in which units are listed carries no meaning
        kept.append(
            {
                "heads": sorted(layer.heads if heads is None else heads[index])
                if has_attention else [],
                "neurons": sorted(layer.neurons if neurons is None else neurons[index])
                if has_ffn else [],
                "has_attention": has_attention,
                "has_ffn": has_ffn,
            }
        )  # fmt: skip
    return _validated({"before": structure, "kept": kept, "weights": dict(weights or {}), **origin})


def _check_layers(
    num_layers: int,
    gone: Mapping[str, Iterable[int]],
    given: Mapping[str, Sequence[Iterable[int]] | None],
) -> None:
    for block, layers in gone.items():
        outside = [layer for layer in layers if not 0 <= layer < num_layers]
        if outside:
            raise UsageError(
                f"invalid pruning plan: there is no layer {outside[0]} to take the {block} from",
                f"Layers are numbered 0 to {num_layers - 1}.",
            )
    for name, values in given.items():
        if values is not None and len(values) != num_layers:
            raise UsageError(
                f"invalid pruning plan: plan names {name} for {len(values)} layers, the model has "
                f"{num_layers}"
            )


def parse_plan(text: str) -> PruningPlan:
    """Read a plan from JSON.

    Args:
        text: What `plan.model_dump_json()` wrote.

    Raises:
        UsageError: if it is not JSON or not a valid plan.
    """
    try:
        return PruningPlan.model_validate_json(text)
    except ValidationError as error:
        raise _usage_error(error) from error


def _validated(data: dict[str, Any]) -> PruningPlan:
    try:
        return PruningPlan.model_validate(data)
    except ValidationError as error:
        raise _usage_error(error) from error


def _usage_error(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return UsageError(f"invalid pruning plan: {f'{where}: ' if where else ''}{message}")
