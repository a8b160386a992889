"""Every recovery of a run on one task: before, after, and what was regained, over seeds.

A repetition is a seed: of training, and for random masks of the mask too. Where a criterion was
repeated over calibration texts, a seed's values are means over them.
"""

from collections.abc import Iterator
from statistics import fmean
from typing import Any, NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.criteria.scores import Mean, mean_over_draws
from sentinel_research.reporting.estimates import DENSE, arm_of, calibration_seed
from sentinel_research.reporting.numbers import fraction
from sentinel_research.reporting.recovery.regained import (
    AS_IS,
    SAME_BUDGET,
    Regained,
    Repetition,
    measure_regained,
)
from sentinel_research.reporting.recovery.scale import Reading, Scale, scale_of

# what decides how many tokens of which text a recovery sees
_BUDGET = ("corpus", "shares", "num_steps", "sequence_length", "batch_size")
FULL: dict[str, Any] = {"full": {}}
"""The methods of the plain control."""


class RecoveryResult(NamedTuple):
    """One recovery of one pruning, or of the dense model."""

    scorer: str
    """The arm; `DENSE` for the control."""
    fraction: float
    """Share pruned; 0 for the dense model."""
    recovery: str
    """Name of the variant."""
    methods: dict[str, Any]
    """Methods with their options."""
    repetitions: tuple[Repetition, ...]
    """The seeds that were measured before and after, ascending."""
    before: Mean | None
    """As pruning left it; has an interval where the masks differ between seeds."""
    after: Mean | None
    """Recovered, over seeds."""
    change: Mean | None
    """After less before, over seeds."""
    regained: tuple[Regained, ...]
    """Of the loss against either reference; none for the dense model."""
    num_asked: int
    """Seeds that the recipe asks for."""

    @property
    def name(self) -> str:
        """The recovery in words."""
        where = "dense model" if self.is_dense else f"{self.scorer} at {fraction(self.fraction)}"
        return f"{where}, {self.recovery}"

    @property
    def is_dense(self) -> bool:
        """Whether this is the control on the dense model."""
        return self.fraction == 0 and self.scorer == DENSE

    def after_by_seed(self) -> dict[int, float]:
        """What was measured after the recovery."""
        return {one.seed: one.after.value for one in self.repetitions}


class TaskRecoveries(NamedTuple):
    """Everything about one task."""

    scale: Scale
    dense: Reading | None
    """The dense model as it is."""
    results: tuple[RecoveryResult, ...]
    """The dense controls first, then in the order of the recipe."""
    budgets: dict[tuple[str, float, str], str]
    """Scorer, fraction and recovery -> its tokens of its text, as a key; never shown."""

    def budget(self, one: RecoveryResult) -> str:
        """Which results saw as many tokens of the same text: those with the same key."""
        return self.budgets[one.scorer, one.fraction, one.recovery]


def recovered_cells(record: RunRecord) -> list[CellRecord]:
    """The cells of a run that have a recovery."""
    return [cell for cell in record.cells if cell.recover_spec is not None]


def place_of(cell: CellRecord) -> tuple[str, float, str]:
    """Scorer (or `DENSE`), fraction and recovery of a recovered cell."""
    prune, recover = cell.prune_spec, cell.recover_spec or {}
    if prune is None:
        return DENSE, 0.0, recover["variant"]
    return arm_of(prune), prune["fraction"], recover["variant"]


def seed_of(cell: CellRecord) -> int:
    """The training seed of a recovered cell."""
    return int((cell.recover_spec or {})["train"]["seed"])


def name_of(cell: CellRecord) -> str:
    """A recovered cell in words."""
    scorer, share, recovery = place_of(cell)
    where = "dense model" if cell.prune_spec is None else f"{scorer} at {fraction(share)}"
    return f"{where}, {recovery}, seed {seed_of(cell)}"


def budget_of(spec: dict[str, Any]) -> str:
    """A key that recoveries share which see as many tokens of the same text.

    Args:
        spec: A RecoverSpec, as JSON.
    """
    return repr([spec["train"].get(name) for name in _BUDGET])


def task_recoveries(record: RunRecord, task: str) -> TaskRecoveries | None:
    """The recoveries of a run on a task; None if nothing was measured.

    Args:
        record: A run with recoveries.
        task: One of its tasks.
    """
    scale = scale_of(record, task)
    if scale is None:
        return None
    by_place: dict[tuple[str, float, str], list[CellRecord]] = {}
    for cell in recovered_cells(record):
        by_place.setdefault(place_of(cell), []).append(cell)
    before = _before(record)
    dense = next((scale.read(one) for one in record.cells if _is_plain_dense(one)), None)
    results = tuple(
        _result(place, cells, before, _References(dense, _controls(by_place, cells, scale)), scale)
        for place, cells in by_place.items()
    )
    budgets = {place: budget_of(cells[0].recover_spec or {}) for place, cells in by_place.items()}
    return TaskRecoveries(scale, dense, results, budgets)


class _References(NamedTuple):
    """What a recovery is compared with."""

    dense: Reading | None
    controls: dict[int, Reading]
    """See `_controls`."""


def _is_plain_dense(cell: CellRecord) -> bool:
    return cell.prune_spec is None and cell.recover_spec is None


def _key(spec: dict[str, Any] | None) -> str:
    return repr(sorted((spec or {}).items()))


def _before(record: RunRecord) -> dict[str, CellRecord]:
    """The cells without recovery, by their pruning."""
    return {_key(cell.prune_spec): cell for cell in record.cells if cell.recover_spec is None}


def _controls(
    by_place: dict[tuple[str, float, str], list[CellRecord]], cells: list[CellRecord], scale: Scale
) -> dict[int, Reading]:
    """The dense model trained on the same budget by plain fine-tuning, by seed.

    Where it was trained in several ways, as at several rates, the best of them is the control: a
    worse one would flatter every recovery. Seeds count first: few would make an interval worse.
    """
    budget = budget_of(cells[0].recover_spec or {})
    candidates = []
    for (arm, _, _), found in by_place.items():
        spec = found[0].recover_spec or {}
        if arm == DENSE and spec["methods"] == FULL and budget_of(spec) == budget:
            readings = {seed_of(cell): scale.read(cell) for cell in found}
            candidates.append({seed: one for seed, one in readings.items() if one is not None})
    sign = -1 if scale.higher_is_better else 1

    def rank(control: dict[int, Reading]) -> tuple[int, float]:
        return -len(control), sign * fmean(one.value for one in control.values())

    return min(filter(None, candidates), key=rank, default={})


def _result(
    place: tuple[str, float, str],
    cells: list[CellRecord],
    before: dict[str, CellRecord],
    references: _References,
    scale: Scale,
) -> RecoveryResult:
    repetitions = tuple(_repetitions(cells, before, scale))
    asked = {_key(cell.prune_spec) for cell in cells}
    known = [scale.read(before[key]) for key in asked if key in before]
    masks = {cell.prune_spec["seed"] for cell in cells if cell.prune_spec is not None}
    seeds = sorted({one.seed for one in repetitions})
    dense = references.dense
    of_dense = {} if dense is None else dict.fromkeys(seeds, dense)
    regained = (
        measure_regained(AS_IS, repetitions, of_dense, scale),
        measure_regained(SAME_BUDGET, repetitions, references.controls, scale),
    )
    values = [one.before.value for one in repetitions]
    if not values:
        values = sorted(reading.value for reading in known if reading is not None)
    pruned_once = len(masks) < 2
    return RecoveryResult(
        *place,
        methods=(cells[0].recover_spec or {})["methods"],
        repetitions=repetitions,
        # one mask is one value, however many trainings start from it
        before=Mean(fmean(values), None, 1) if values and pruned_once else mean_over_draws(values),
        after=mean_over_draws([one.after.value for one in repetitions]),
        change=mean_over_draws([one.after.value - one.before.value for one in repetitions]),
        regained=() if place[0] == DENSE else regained,
        num_asked=len({seed_of(cell) for cell in cells}),
    )


def _repetitions(
    cells: list[CellRecord], before: dict[str, CellRecord], scale: Scale
) -> Iterator[Repetition]:
    """Every seed of which all cells were measured before and after."""
    for seed in sorted({seed_of(cell) for cell in cells}):
        pairs = [
            (
                scale.read(before[_key(cell.prune_spec)])
                if _key(cell.prune_spec) in before
                else None,
                scale.read(cell),
            )
            for cell in sorted(cells, key=lambda one: calibration_seed(one.prune_spec or {}) or 0)
            if seed_of(cell) == seed
        ]
        starts = [start for start, _ in pairs if start is not None]
        ends = [end for _, end in pairs if end is not None]
        # nothing is averaged over what is missing
        if len(starts) == len(ends) == len(pairs):
            yield Repetition(seed, _mean(starts), _mean(ends))


def _mean(readings: list[Reading]) -> Reading:
    """Of models that read the same documents: their errors are shared and do not average out."""
    errors = [one.stderr for one in readings if one.stderr is not None]
    is_known = len(errors) == len(readings)
    return Reading(fmean(one.value for one in readings), fmean(errors) if is_known else None)
