"""What a downstream run consists of: units of tasks, and one cell for each model, unit and seed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sentinel_research.errors import UsageError
from sentinel_research.record import BEFORE, MAJORITY, Arm, CellRecord
from sentinel_research.specs import DownstreamSpec, Recipe


class Unit(NamedTuple):
    """What one model is fine-tuned for."""

    name: str
    """The task, or the group whose tasks are learnt together."""
    tasks: dict[str, Any]
    """The lm-eval tasks themselves, by name."""


class Lessons(NamedTuple):
    """Everything that a run teaches, loaded once."""

    units: tuple[Unit, ...]
    """In the order of the recipe's tasks."""
    groups: dict[str, Any]
    """By name of each group `tasks`, and `averages`: metrics that lm-eval averages over them, and
    whether by size."""


def load_lessons(recipe: Recipe) -> Lessons:
    """The tasks of a recipe with their data.

    Args:
        recipe: With `downstream`.

    Raises:
        UsageError: for an unknown task, or one that is named twice, also by a group.
        DataError: if the data of a task cannot be had.
    """
    from sentinel_research.data.task_documents import load_groups

    assert recipe.downstream is not None  # the caller's recipe fine-tunes
    units: list[Unit] = []
    groups: dict[str, Any] = {}
    for name in recipe.evaluate.tasks:
        loaded = load_groups([name])
        groups |= {one: _as_averaged(group) for one, group in loaded["groups"].items()}
        if name in recipe.downstream.together:
            units.append(Unit(name, loaded["tasks"]))
        else:
            units += [Unit(one, {one: task}) for one, task in loaded["tasks"].items()]
    for task, number in Counter(task for unit in units for task in unit.tasks).items():
        if number > 1:
            raise UsageError(
                f"`evaluate.tasks` names '{task}' more than once, alone or by its group",
                "name it once",
            )
    return Lessons(tuple(units), groups)


def _as_averaged(group: Any) -> dict[str, Any]:
    averages = group.aggregate_metric_list or []
    return {
        "tasks": [task.task_name for task in group.get_all_tasks()],
        "averages": {one.metric: bool(one.weight_by_size) for one in averages},
    }


def plan_downstream(spec: DownstreamSpec, units: Sequence[Unit]) -> list[CellRecord]:
    """The cells of a run: the majority class, every model before, and every fine-tuning.

    Args:
        spec: Models and seeds.
        units: What each is fine-tuned for.
    """
    cells = [_cell("majority", Arm(name=MAJORITY, seed=None, learning_rate=None))]
    for name, checkpoints in spec.models.items():
        seeds: list[Any] = [None] if len(checkpoints) == 1 else list(spec.seeds)
        cells += [
            _cell(
                f"{name}-before" + ("" if seed is None else f"-seed{seed}"),
                Arm(name=f"{name}{BEFORE}", seed=seed, learning_rate=None),
            )
            for seed in seeds
        ]
    for unit in units:
        cells += [_fine_tuned(name, seed, unit) for name in spec.models for seed in spec.seeds]
    return cells


def is_before(cell: CellRecord) -> bool:
    """Whether a cell measures a model that was not fine-tuned."""
    return cell.arm is not None and cell.arm.name.endswith(BEFORE)


def starts_from(cell: CellRecord, spec: DownstreamSpec) -> str:
    """The checkpoint that a cell's model starts from."""
    assert cell.arm is not None  # all cells of a downstream run have one
    seed = spec.seeds[0] if cell.arm.seed is None else cell.arm.seed
    return spec.checkpoint(cell.arm.name.removesuffix(BEFORE), seed)


def _fine_tuned(name: str, seed: int, unit: Unit) -> CellRecord:
    arm = Arm(name=name, seed=seed, learning_rate=None)
    return _cell(f"{unit.name}-{name}-seed{seed}", arm, unit.name)


def _cell(cell_id: str, arm: Arm, unit: str | None = None) -> CellRecord:
    return CellRecord(id=cell_id, prune_spec=None, arm=arm, fine_tuned_on=unit)
