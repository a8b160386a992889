"""Prunings that removed less than the share that was asked for, and why."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sentinel_research.reporting.estimates import Group
from sentinel_research.reporting.numbers import fraction
from sentinel_research.structure import Structure

# a whole unit is missing: less is how floats are rounded
_ONE = 1 - 1e-9
_BLOCKS = ("attention", "ffn", "layer")


class Shortfall(NamedTuple):
    """What one pruning removed, where that is at least a unit less than was asked for."""

    requested: float
    """The fraction asked for."""
    achieved: float
    """The share of the budget that went, in [0, 1]."""
    budget: str
    """What both are a share of."""
    reason: str
    """What kept the rest."""

    def in_words(self) -> str:
        """For the line of a pruning."""
        return (
            f"{fraction(self.requested)} of the {self.budget} was asked for, "
            f"{self.achieved:.3g} was removed ({self.reason})"
        )


def find_shortfall(spec: Mapping[str, Any], report: Mapping[str, Any]) -> Shortfall | None:
    """Compare what a pruning removed with what was asked for.

    Args:
        spec: The PruneSpec, as JSON.
        report: The PruneReport, as JSON.

    Returns:
        None if less than a unit is missing, or if the report knows no budget (single weights).
    """
    if report.get("budget_requested") is None or not spec["fraction"]:
        return None
    before = Structure.model_validate(report["plan"]["before"])
    kinds = [spec["granularity"]] if isinstance(spec["granularity"], str) else spec["granularity"]
    counts = {kind: _count(before, kind) for kind in kinds}
    achieved = report["budget_achieved"]
    if spec["budget"] == "units":
        total = float(sum(sum(layers) for layers in counts.values()))
        one_unit, is_held = 1.0, report["budget_requested"] > achieved
    else:
        total = report["budget_requested"] / spec["fraction"]
        # of units that differ in cost, no mean is larger
        one_unit = total / min(sum(layers) for layers in counts.values())
        is_held = _is_held(spec["min_per_layer"], counts, report)
    if spec["fraction"] * total - achieved < one_unit * _ONE:
        return None
    return Shortfall(spec["fraction"], achieved / total, spec["budget"], _reason(spec, is_held))


def explain_shortfalls(groups: list[Group]) -> tuple[str, ...]:
    """One sentence for every scorer and fraction of which a cell fell short.

    Args:
        groups: The cells of a run, grouped.
    """
    sentences = []
    for group in groups:
        known = [(cell.prune_spec, cell.prune) for cell in group.cells]
        found = [find_shortfall(spec, report) for spec, report in known if spec and report]
        short = sorted({one for one in found if one is not None}, key=lambda one: one.achieved)
        if short:
            most = "" if len(short) == 1 else f" at least, {short[-1].achieved:.3g} at most"
            sentences.append(f"{group.name}: {short[0].in_words()}{most}.")
    return tuple(sentences)


def _count(structure: Structure, kind: str) -> tuple[int, ...]:
    """Units of a kind in every layer."""
    if kind == "kv_group":
        return tuple(len(structure.kv_heads(layer)) for layer in range(structure.num_layers))
    return structure.num_units(kind)  # type: ignore[arg-type]


def _is_held(
    min_per_layer: int, counts: Mapping[str, tuple[int, ...]], report: Mapping[str, Any]
) -> bool:
    """Whether any layer was left with no more than the minimum."""
    plan = report["plan"]
    after = Structure.model_validate({**plan["before"], "layers": plan["kept"]})
    return any(
        had and left <= min_per_layer
        for kind in counts
        if kind not in _BLOCKS and min_per_layer > 0
        for had, left in zip(counts[kind], _count(after, kind), strict=True)
    )


def _reason(spec: Mapping[str, Any], is_held: bool) -> str:
    if is_held:
        return f"min_per_layer {spec['min_per_layer']} keeps the rest"
    where = " in every layer" if spec["scope"] == "local" else ""
    return f"rounded down to whole units{where}"
