"""From the cells of a record to one estimate per scorer, fraction and metric.

Cells that differ in nothing but a seed are repetitions. Random masks are shown as they fell: their
median with the range of all of them. Draws of the calibration text have their mean with Student's t
interval. A single cell has its measurement's own standard error, which covers the sample of
documents. Each estimate says which of the three it is.
"""

import math
import statistics
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from sentinel_research.record import CellRecord, Measurement, RunRecord
from sentinel_research.reporting.numbers import fraction
from sentinel_research.statistics import Interval, mean_interval, normal_interval

DENSE = "dense"
RANDOM = "random"
FLOOR = "floor_perplexity"
FLOOR_RATE = "floor_entropy_rate_perplexity"
_OF = ": "
_PREFERRED = ("token_perplexity", "word_perplexity")


Repeats = Literal["masks", "calibration", "nothing"]
Over = Literal["masks", "calibration", "documents", "nothing"]


class Metric(NamedTuple):
    """A metric as lm-eval identifies it within a task."""

    name: str
    filter: str

    @property
    def label(self) -> str:
        """The name, with lm-eval's filter if there is one."""
        return self.name if self.filter == "none" else f"{self.name} ({self.filter})"


class Estimate(NamedTuple):
    """A metric of one scorer at one fraction, in the metric's unit."""

    value: float
    """The measured value, the median of the masks, or the mean over calibration seeds."""
    stderr: float | None
    """Its standard error; null for masks, and if the task gives none."""
    interval: Interval | None
    """Its 95% interval, for masks their whole range; null without a standard error."""
    over: Over
    """What the standard error and the interval cover."""
    values: tuple[float, ...]
    """What each cell measured, in the order of their seeds."""

    @property
    def num_cells(self) -> int:
        """Cells that were measured."""
        return len(self.values)


class Group(NamedTuple):
    """The cells of one scorer at one fraction, which differ in their seed."""

    scorer: str
    """Registered scorer, after the variant's name if there are any; or `DENSE`."""
    fraction: float
    """Share asked for; 0 for the dense model."""
    cells: tuple[CellRecord, ...]
    """Empty if the recipe asks for the group and the run has not reached it."""

    @property
    def is_dense(self) -> bool:
        """Whether this is the model before pruning."""
        return self.fraction == 0 and self.scorer == DENSE

    @property
    def repeats(self) -> Repeats:
        """What is drawn anew in every cell: the mask, the calibration text, or nothing."""
        specs = [cell.prune_spec for cell in self.cells if cell.prune_spec is not None]
        if len({spec["seed"] for spec in specs}) > 1:
            return "masks"
        return "calibration" if len({calibration_seed(spec) for spec in specs}) > 1 else "nothing"

    @property
    def name(self) -> str:
        """The group in words."""
        return "dense model" if self.is_dense else f"{self.scorer} at {fraction(self.fraction)}"


def group_cells(record: RunRecord) -> list[Group]:
    """The dense model, then every scorer with rising fractions, as the recipe orders them.

    Args:
        record: Cells that its recipe asks for and that are not there become empty groups.

    Returns:
        No group where the recipe measures nothing.
    """
    if not (record.recipe.get("evaluate") or {}).get("tasks", True):
        return []
    cells: dict[tuple[str, float], list[CellRecord]] = {(DENSE, 0.0): []}
    for key in _asked(record.recipe.get("prune") or {}):
        cells[key] = []
    # what a recovery made of a model is compared in its own section
    for cell in (one for one in record.cells if one.recover_spec is None):
        spec = cell.prune_spec
        key = (DENSE, 0.0) if spec is None else (arm_of(spec), spec["fraction"])
        cells.setdefault(key, []).append(cell)
    scorers = list(dict.fromkeys(scorer for scorer, _ in cells))
    for key, found_cells in cells.items():
        cells[key] = sorted(found_cells, key=_seeds)
    ordered = sorted(cells, key=lambda key: (scorers.index(key[0]), key[1]))
    return [Group(scorer, share, tuple(cells[scorer, share])) for scorer, share in ordered]


def _asked(grid: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Arm and fraction of everything that a recipe's grid asks for, variant by variant."""
    variants: dict[str | None, dict[str, Any]] = grid.get("variants") or {None: {}}
    for name, changes in variants.items():
        own = {**grid, **{key: value for key, value in changes.items() if value is not None}}
        for scorer in own.get("scorers", []):
            for share in sorted(own.get("fractions", [])):
                if share > 0:
                    yield arm_of({"scorer": scorer, "variant": name}), share


def arm_of(spec: dict[str, Any]) -> str:
    """What the cells of a pruning are called: the scorer, after its variant if there are any."""
    return join_arm(spec.get("variant") or "", str(spec["scorer"]))


def join_arm(variant: str, scorer: str) -> str:
    """The arm of a variant (empty if there are none) and a scorer."""
    return f"{variant}{_OF}{scorer}" if variant else scorer


def split_arm(arm: str) -> tuple[str, str]:
    """Variant (empty if there are none) and scorer of an arm."""
    variant, _, scorer = arm.rpartition(_OF)
    return variant, scorer


def list_tasks(record: RunRecord) -> list[str]:
    """Every task of any evaluation; the recipe's own list while there is none.

    The recipe may name groups, which lm-eval expands: it cannot be compared with what was measured.
    """
    evaluations = [cell.evaluation for cell in record.cells if cell.evaluation is not None]
    if not evaluations:
        return list((record.recipe.get("evaluate") or {}).get("tasks", []))
    measured = [one.task for evaluation in evaluations for one in evaluation.measurements]
    declared = [task for evaluation in evaluations for task in evaluation.task_hashes]
    return list(dict.fromkeys([*measured, *declared]))


def measurements(record: RunRecord, task: str) -> list[Measurement]:
    """Everything measured on a task, in the order of the cells."""
    evaluations = [cell.evaluation for cell in record.cells if cell.evaluation is not None]
    return [one for found in evaluations for one in found.measurements if one.task == task]


def list_metrics(record: RunRecord, task: str) -> list[Metric]:
    """The metrics of a task, the one to plot first; the entropy floor is not one of them."""
    found = dict.fromkeys(
        Metric(one.metric, one.filter)
        for one in measurements(record, task)
        if one.metric not in (FLOOR, FLOOR_RATE)
    )
    rank = {name: place for place, name in enumerate(_PREFERRED)}
    return sorted(found, key=lambda metric: rank.get(metric.name, len(rank)))


def floor_value(record: RunRecord, task: str, name: str = FLOOR) -> float | None:
    """The exact perplexity of the true source on the task's documents, where the task knows it."""
    values = [one.value for one in measurements(record, task) if one.metric == name]
    return values[0] if values else None


def is_floor_of(record: RunRecord, task: str, metric: Metric) -> bool:
    """Whether the task's floor, a perplexity per word, is in the unit of `metric`.

    A tokenizer of the task's words makes both perplexities equal; any other makes a perplexity per
    token incomparable with the floor.
    """
    if metric.name == "word_perplexity":
        return True
    if metric.name != "token_perplexity":
        return False
    word = Metric("word_perplexity", metric.filter)
    pairs = [(measured(cell, task, metric), measured(cell, task, word)) for cell in record.cells]
    return all(math.isclose(one.value, other.value) for one, other in pairs if one and other)


def measured(cell: CellRecord, task: str, metric: Metric) -> Measurement | None:
    """What a cell measured, if it did."""
    for one in cell.evaluation.measurements if cell.evaluation else ():
        if (one.task, one.metric, one.filter) == (task, *metric):
            return one
    return None


def estimate(group: Group, task: str, metric: Metric) -> Estimate | None:
    """The estimate of a group from the cells that were measured; None if none was."""
    found = [one for cell in group.cells if (one := measured(cell, task, metric))]
    if not found:
        return None
    values = tuple(one.value for one in found)
    if len(values) > 1 and group.repeats == "calibration":
        mean = mean_interval(values)
        stderr = statistics.stdev(values) / len(values) ** 0.5
        return Estimate(mean.value, stderr, mean, "calibration", values)
    if len(values) > 1:
        median = statistics.median(values)
        return Estimate(median, None, Interval(median, min(values), max(values)), "masks", values)
    (only,) = found
    if only.stderr is None:
        return Estimate(only.value, None, None, "nothing", values)
    interval = normal_interval(only.value, only.stderr)
    return Estimate(only.value, only.stderr, interval, "documents", values)


def explain_missing(group: Group, task: str, metric: Metric) -> str | None:
    """Why a group has no value, or fewer than its seeds; None if nothing is missing."""
    if not group.cells:
        return f"{group.name}: not run"
    reasons = [
        f"{cell_in_words(group, cell)}: {_reason(cell, task, metric)}"
        for cell in group.cells
        if measured(cell, task, metric) is None
    ]
    return "; ".join(reasons) or None


def cell_in_words(group: Group, cell: CellRecord) -> str:
    """A cell of a group, named by the seed in which it differs from the others."""
    spec = cell.prune_spec
    if spec is None or group.repeats == "nothing":
        return group.name
    if group.repeats == "calibration":
        return f"{group.name}, calibration seed {calibration_seed(spec)}"
    return f"{group.name}, seed {spec['seed']}"


def calibration_seed(spec: dict[str, Any]) -> int | None:
    """Which calibration text a pruning reads; null if it reads none."""
    calibration = spec.get("calibration")
    return None if calibration is None else calibration["seed"]


def _seeds(cell: CellRecord) -> tuple[int, int]:
    spec = cell.prune_spec or {"seed": 0}
    return spec["seed"], calibration_seed(spec) or 0


def _reason(cell: CellRecord, task: str, metric: Metric) -> str:
    if cell.error is not None:
        return f"failed ({cell.error})"
    if cell.evaluation is None:
        return f"not evaluated (status {cell.status})"
    return cell.evaluation.not_measured.get(
        f"{task}/{metric.name}", f"{metric.label} was not measured"
    )
