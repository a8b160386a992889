"""Which cells a recipe runs: the dense model, every pruning, and every recovery with its controls.

Everything that can be refused without a model is refused here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sentinel_research import registry
from sentinel_research.errors import UsageError
from sentinel_research.record import CellRecord
from sentinel_research.specs import PruneGrid, PruneSpec, Recipe, RecoverGrid, RecoverSpec

DENSE = "dense"
# the control that every recovery has
_CONTROL_SCORER = "random"
# how a scorer calls what is asked of it
_SCORED_AS = {"2:4": "weight"}


class PlannedCell(NamedTuple):
    """One model of a run."""

    id: str
    """Stable name, also of its folder."""
    prune: PruneSpec | None
    """Its pruning; None for the dense model."""
    recover: RecoverSpec | None = None
    """Its recovery; None for a model as pruning left it."""

    @property
    def kind(self) -> str:
        """Cells of one kind take about the same time."""
        return "measured" if self.recover is None else f"recovered {self.recover.variant}"

    @property
    def new_record(self) -> CellRecord:
        """Its record before anything was done."""
        prune, recover = (
            spec.model_dump(mode="json") if spec is not None else None
            for spec in (self.prune, self.recover)
        )
        return CellRecord(id=self.id, prune_spec=prune, recover_spec=recover)


def plan_cells(recipe: Recipe) -> list[PlannedCell]:
    """Every cell of a run of one model, the dense one first; none where nothing is measured.

    With a recovery, random masks of every fraction are among the prunings, and every pruning is
    measured as it is and after every recovery. The dense model is trained on every budget too, and
    goes through every recovery that costs quality by itself.

    Raises:
        UsageError: for an unknown scorer or recovery, a scorer that cannot score the recipe's
            units, missing calibration, or two prunings of one name.
    """
    if recipe.compare is not None or recipe.downstream is not None or not recipe.evaluate.tasks:
        return []
    found = [PlannedCell(DENSE, None)]
    if recipe.prune is not None:
        found += _prunings(recipe.prune, recipe.recover.seeds if recipe.recover else None)
    if recipe.recover is not None:
        found += list(_recoveries(recipe.recover, found))
    _refuse_shared_ids([cell.id for cell in found])
    return found


def _prunings(prune: PruneGrid, control_seeds: list[int] | None) -> list[PlannedCell]:
    if control_seeds is not None:
        prune = _with_control(prune, control_seeds)
    grids = prune.grids
    plugins = {name: registry.get("scorers", name) for _, grid in grids for name in grid.scorers}
    for _, grid in grids:
        for name in grid.scorers:
            _check_scorer(plugins[name], grid)
    specs = prune.cells(
        {name: plugin.seeded for name, plugin in plugins.items()},
        {name: plugin.calibrated for name, plugin in plugins.items()},
    )
    return [PlannedCell(_cell_id(spec, plugins.get(spec.scorer), prune), spec) for spec in specs]


def _with_control(prune: PruneGrid, seeds: list[int]) -> PruneGrid:
    """The grid with random masks, as many as the recovery has seeds."""

    def added(scorers: list[str]) -> list[str]:
        return [*scorers, *([] if _CONTROL_SCORER in scorers else [_CONTROL_SCORER])]

    variants = {
        name: one.model_copy(update={"scorers": added(one.scorers)}) if one.scorers else one
        for name, one in prune.variants.items()
    }
    return prune.model_copy(
        update={
            "scorers": added(prune.scorers),
            "seeds": [*prune.seeds, *(seed for seed in seeds if seed not in prune.seeds)],
            "variants": variants,
        }
    )


def _recoveries(recover: RecoverGrid, before: list[PlannedCell]) -> Iterator[PlannedCell]:
    """The dense controls, then every pruning after every recovery."""
    from sentinel_research.recoveries.methods import check_methods

    for spec in recover.specs:
        where = "recover.methods" if not recover.variants else f"recover.variants.{spec.variant}"
        check_methods(spec.methods, where)
    for spec in recover.controls:
        for seed in recover.seeds:
            yield _recovered(DENSE, None, spec, seed)
    for spec in recover.specs:
        if any(registry.get("recoveries", name).costs_quality for name in spec.methods):
            for seed in recover.seeds:
                yield _recovered(DENSE, None, spec, seed)
    for cell in before:
        if cell.prune is None:
            continue
        # a random mask and the training after it are one repetition
        is_seeded = not cell.prune.units and registry.get("scorers", cell.prune.scorer).seeded
        seeds = [cell.prune.seed] if is_seeded else recover.seeds
        for spec in recover.specs:
            for seed in seeds:
                yield _recovered(cell.id, cell.prune, spec, seed)


def _recovered(cell_id: str, prune: PruneSpec | None, spec: RecoverSpec, seed: int) -> PlannedCell:
    own = spec.model_copy(update={"train": spec.train.model_copy(update={"seed": seed})})
    # the seed of a random mask is in the name of its cell already
    is_named = prune is not None and cell_id.endswith(f"-seed{seed}")
    return PlannedCell(f"{cell_id}+{spec.variant}{'' if is_named else f'-seed{seed}'}", prune, own)


def can_score(scorer: str, kinds: Iterable[str]) -> bool:
    """Whether a registered scorer scores all these kinds of unit."""
    units = registry.get("scorers", scorer).units
    return all(_SCORED_AS.get(kind, kind) in units for kind in kinds)


def _cell_id(spec: PruneSpec, plugin: registry.Plugin | None, grid: PruneGrid) -> str:
    """The name of a pruning; named units have no scorer's plugin."""
    from sentinel_research.reporting.numbers import fraction

    seed = f"-seed{spec.seed}" if plugin is not None and plugin.seeded else ""
    calibrated = plugin is not None and plugin.calibrated
    repeated = calibrated and grid.calibration_seeds is not None
    draw = f"-cal{spec.calibration.seed}" if repeated and spec.calibration else ""
    variant = f"{spec.variant}-" if spec.variant else ""
    return f"{variant}{spec.scorer}-{fraction(spec.fraction)}{seed}{draw}"


def _refuse_shared_ids(ids: list[str]) -> None:
    shared = sorted(cell_id for cell_id, count in Counter(ids).items() if count > 1)
    if shared:
        raise UsageError(
            f"two prunings of the recipe are both called '{shared[0]}'",
            "rename a variant in `prune.variants`",
        )


def _check_scorer(plugin: registry.Plugin, grid: PruneGrid) -> None:
    """Refuse a scorer without the text that it needs, or for units that it cannot score."""
    what = f"the scorer '{plugin.name}'" if plugin.calibrated else "`compensate: bias`"
    if grid.calibration is None and (plugin.calibrated or grid.compensate == "bias"):
        raise UsageError(
            f"{what} reads calibration text, and the recipe names none",
            "add `prune.calibration`, for example --set prune.calibration.corpus=wikitext2",
        )
    kinds = (grid.granularity,) if isinstance(grid.granularity, str) else grid.granularity
    if not can_score(plugin.name, kinds):
        able = [name for name in registry.names("scorers") if can_score(name, kinds)]
        raise UsageError(
            f"the scorer '{plugin.name}' cannot score {' and '.join(kinds)}, only: "
            f"{', '.join(plugin.units)}",
            f"scorers that can: {', '.join(able) or 'none'}",
        )
