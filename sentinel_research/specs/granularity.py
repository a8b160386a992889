"""The kinds of unit that a pruning ranks, and which options go with which or with named units."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

if TYPE_CHECKING:
    from sentinel_research.specs.prune import PruneGrid, PruneSpec

Granularity = Literal["head", "kv_group", "neuron", "attention", "ffn", "layer", "weight", "2:4"]
MANUAL = "manual"
"""Stands for the scorer where a person named the units."""
_PARTS: dict[Granularity, tuple[Granularity, ...]] = {
    "attention": ("head", "kv_group"),
    "ffn": ("neuron",),
    "layer": ("head", "kv_group", "neuron"),
}


def _as_written(value: Any) -> Any:
    """YAML 1.1 reads an unquoted 2:4 as two times sixty and four."""
    return "2:4" if value == 124 else value


Granularities = Annotated[Granularity | tuple[Granularity, ...], BeforeValidator(_as_written)]
"""One kind of unit, or several that are ranked together."""


def check_granularity(spec: "PruneSpec | PruneGrid", fractions: Sequence[float]) -> None:
    """Check that the options of a pruning mean something for its kinds of unit.

    Args:
        spec: One pruning, or a grid of them.
        fractions: Of the pruning, or of all.

    Raises:
        ValueError: for kinds that overlap, and for options that would change nothing.
    """
    given = spec.granularity
    kinds = (given,) if isinstance(given, str) else given
    if not kinds or len(set(kinds)) != len(kinds):
        raise ValueError(f"`granularity` must name one or more kinds, each once, got {given}")
    for alone in ("weight", "2:4"):
        if alone in kinds and len(kinds) > 1:
            raise ValueError(f"`granularity: {alone}` cannot be ranked together with other kinds")
        if alone in kinds:
            _check_weights(spec, alone)
    if "2:4" in kinds and set(fractions) - {0.0, 0.5}:
        raise ValueError("`granularity: 2:4` removes exactly half of the weights: fraction 0.5")
    _check_blocks(spec, kinds)
    _check_overlap(spec, kinds)
    if spec.normalise == "layer" and spec.scope == "local":
        raise ValueError(
            "`normalise: layer` changes nothing with `scope: local`, which compares no two layers; "
            "set `scope: global` or leave it out"
        )


def _check_weights(spec: "PruneSpec | PruneGrid", kind: Granularity) -> None:
    """Options that single weights do not have."""
    if spec.compensate != "none":
        raise ValueError("`compensate` is for heads and neurons; `sparsegpt` updates weights")
    if spec.transfer_from is not None:
        raise ValueError(
            f"`granularity: {kind}` cannot be transferred (`transfer_from: "
            f"{spec.transfer_from}`): heads, KV groups and neurons have ranks in a layer"
        )
    if spec.budget != "units":
        raise ValueError(
            f"`granularity: {kind}` takes a share of the weights: leave out `budget: {spec.budget}`"
        )
    if spec.normalise != "none" or spec.min_per_layer != 1:
        raise ValueError(
            f"`granularity: {kind}` compares weights inside a matrix: leave out `normalise` and "
            "`min_per_layer`"
        )
    if kind == "2:4" and spec.scope != "local":
        raise ValueError(
            "`granularity: 2:4` compares four weights at a time: leave out `scope: global`"
        )


def _check_blocks(spec: "PruneSpec | PruneGrid", kinds: tuple[Granularity, ...]) -> None:
    """Options that whole blocks do not have."""
    blocks = [kind for kind in kinds if kind in ("attention", "ffn", "layer")]
    if blocks and spec.normalise == "layer":
        raise ValueError(
            f"`normalise: layer` leaves nothing of the scores of {blocks[0]}, of which a layer has "
            "one; it is for head, kv_group and neuron"
        )
    if len(blocks) < len(kinds):
        return
    if spec.compensate != "none":
        raise ValueError(
            f"`compensate: {spec.compensate}` is for head, kv_group and neuron: of {blocks[0]} the "
            "output bias goes too"
        )
    if spec.min_per_layer != 1:
        raise ValueError(
            f"`min_per_layer: {spec.min_per_layer}` is for head, kv_group and neuron: a layer has "
            f"one {blocks[0]}, and it may go"
        )


def _check_overlap(spec: "PruneSpec | PruneGrid", kinds: tuple[Granularity, ...]) -> None:
    """A budget of what goes in all counts a unit once, be it named by itself or in a block."""
    for whole, part in (("layer", "attention"), ("layer", "ffn"), ("kv_group", "head")):
        if whole in kinds and part in kinds:
            raise ValueError(f"`granularity` names both {whole} and {part}, which overlap")
    if spec.scope == "global" and spec.budget != "units":
        return
    for whole, parts in _PARTS.items():
        for part in parts:
            if whole in kinds and part in kinds:
                raise ValueError(
                    f"`granularity` names both {whole} and its part {part}, which `scope: "
                    f"{spec.scope}` with `budget: {spec.budget}` would count twice; set `scope: "
                    "global` and `budget: parameters` or `flops`"
                )


def check_units(spec: "PruneSpec | PruneGrid", fractions: Sequence[float]) -> None:
    """Check what named units need, and what they leave no room for.

    Args:
        spec: One pruning, or a grid of them.
        fractions: Of the pruning, or of all.

    Raises:
        ValueError: for options of a choice that is not made.
    """
    if not spec.units:
        return
    if len(fractions) != 1 or not fractions[0] or spec.budget != "parameters":
        raise ValueError(
            "`units` needs `budget: parameters` and one fraction above 0, the share of the "
            "parameters of all heads, neurons and blocks that these units are"
        )
    for name, default in (("compensate", "none"), ("transfer_from", None)):
        if getattr(spec, name) != default:
            raise ValueError(f"`units` names what goes: leave out `{name}: {getattr(spec, name)}`")
