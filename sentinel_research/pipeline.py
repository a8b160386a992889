"""From a recipe to a record: load or train, then for every cell prune, recover, evaluate.

Each stage is a function of its own package; this module strings them together, writes the record
after each one, and on the same command goes on where the record ends. It decides nothing about
how a model is trained, pruned or measured.
"""

from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from sentinel_research import registry
from sentinel_research.cells import Prepared, headline, run_cell
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.inputs import record_inputs
from sentinel_research.progress import Progress, Silent
from sentinel_research.pruner import Pruner
from sentinel_research.record import (
    RECORD_FILE,
    CellRecord,
    RunRecord,
    create_folder,
    environment,
    now,
)
from sentinel_research.specs import PruneGrid, PruneSpec, Recipe

DENSE = "dense"
# how a scorer calls what is asked of it
_SCORED_AS = {"2:4": "weight"}
DEFAULT_ROOT = Path("runs")


def default_folder(recipe: Recipe) -> Path:
    """`runs/NAME-FINGERPRINT`: another request never lands in the same folder."""
    return DEFAULT_ROOT / f"{recipe.name}-{recipe.fingerprint()[:8]}"


def plan_cells(recipe: Recipe) -> list[tuple[str, PruneSpec | None]]:
    """Names and prunings of every cell, the dense model first.

    Raises:
        UsageError: for an unknown scorer or recovery, a scorer that cannot score the recipe's
            units, missing calibration, or two prunings of one name.
    """
    found: list[tuple[str, PruneSpec | None]] = [(DENSE, None)]
    if recipe.recover is not None:
        registry.get("recoveries", recipe.recover.recipe)
    if recipe.prune is None:
        return found
    grids = recipe.prune.grids
    plugins = {name: registry.get("scorers", name) for _, grid in grids for name in grid.scorers}
    for _, grid in grids:
        for name in grid.scorers:
            _check_scorer(plugins[name], grid)
    specs = recipe.prune.cells(
        {name: plugin.seeded for name, plugin in plugins.items()},
        {name: plugin.calibrated for name, plugin in plugins.items()},
    )
    found += [(_cell_id(spec, plugins[spec.scorer], recipe.prune), spec) for spec in specs]
    _refuse_shared_ids([cell_id for cell_id, _ in found])
    return found


def can_score(scorer: str, kinds: Iterable[str]) -> bool:
    """Whether a registered scorer scores all these kinds of unit."""
    units = registry.get("scorers", scorer).units
    return all(_SCORED_AS.get(kind, kind) in units for kind in kinds)


def _cell_id(spec: PruneSpec, plugin: registry.Plugin, grid: PruneGrid) -> str:
    from sentinel_research.reporting.numbers import fraction

    seed = f"-seed{spec.seed}" if plugin.seeded else ""
    repeated = plugin.calibrated and grid.calibration_seeds is not None
    draw = f"-cal{spec.calibration.seed}" if repeated and spec.calibration else ""
    variant = f"{spec.variant}-" if spec.variant else ""
    return f"{variant}{spec.scorer}-{fraction(spec.fraction)}{seed}{draw}"


def _refuse_shared_ids(ids: list[str]) -> None:
    shared = sorted({cell_id for cell_id in ids if ids.count(cell_id) > 1})
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


def run(
    recipe: Recipe, output: Path | None = None, *, progress: Progress | None = None
) -> RunRecord:
    """Run a recipe, or go on with it.

    Args:
        recipe: What to do.
        output: Run folder; `runs/NAME-FINGERPRINT` by default. A folder that holds a started run of
            the same recipe is continued: finished stages are not computed again.
        progress: Who is told about progress.

    Returns:
        The finished record. A cell that failed is recorded, the other cells still run.

    Raises:
        UsageError: for a request that cannot be carried out, or a folder of another recipe.
        CheckFailedError: at the end, if a check on the results failed; the record is complete.
    """
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.evaluation import find_tasks
    from sentinel_research.evaluation.limits import check_examples

    progress = progress or Silent()
    all_cells = plan_cells(recipe)
    if recipe.data is not None:
        use_mirror(recipe.data)
    find_tasks(recipe.evaluate.tasks)
    check_examples(recipe.evaluate)
    folder = create_folder(output or default_folder(recipe))
    try:
        with FileLock(folder / ".lock", timeout=0):
            record = _run_locked(recipe, all_cells, folder, progress)
    except Timeout as error:
        raise UsageError(
            f"another process is running in {folder}", "wait for it, or choose another --output"
        ) from error
    progress.say(f"record: {folder / RECORD_FILE}\nreport: {folder / 'report.html'}")
    _refuse_failed_checks(record, folder)
    return record


def _run_locked(
    recipe: Recipe,
    all_cells: list[tuple[str, PruneSpec | None]],
    folder: Path,
    progress: Progress,
) -> RunRecord:
    from sentinel_research.reporting import report

    record = _open_record(recipe, folder)
    _add_cells(record, all_cells, folder)
    prepared = _prepare(recipe, all_cells, record, folder, progress)
    progress.start(f"{recipe.name}: models", len(all_cells))
    for cell_id, spec in all_cells:
        cell = record.cell(cell_id)
        if cell.status != "done":
            run_cell(recipe, prepared, cell, spec, record, folder)
        if spec is None and cell.evaluation is not None:
            record_inputs(recipe, record, cell.evaluation)
        progress.advance(f"{cell_id} {headline(recipe, cell)}")
    record.status = "done" if all(c.status == "done" for c in record.cells) else "failed"
    record.finished_at = now()
    record.write(folder)
    report(folder)
    return record


def _refuse_failed_checks(record: RunRecord, folder: Path) -> None:
    failed = record.failed_checks()
    if failed:
        raise CheckFailedError(
            "\n".join(f"check failed: {check.name}: {check.detail}" for check in failed),
            f"the numbers are in {folder / RECORD_FILE}; do not use them before this is explained",
        )


def _open_record(recipe: Recipe, folder: Path) -> RunRecord:
    fingerprint = recipe.fingerprint()
    if (folder / RECORD_FILE).exists():
        record = RunRecord.read(folder)
        if record.recipe_fingerprint != fingerprint:
            raise UsageError(
                f"{folder} holds a run of another recipe "
                f"({record.name}, fingerprint {record.recipe_fingerprint})",
                "choose another folder with --output DIR",
            )
        return record
    record = RunRecord(
        name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_fingerprint=fingerprint,
        synthetic_data=_reads_synthetic_data(recipe),
        started_at=now(),
        environment=environment(recipe.model.device),
    )
    record.write(folder)
    return record


def _reads_synthetic_data(recipe: Recipe) -> bool:
    corpora = {
        recipe.train.corpus if recipe.train else None,
        recipe.prune.calibration.corpus if recipe.prune and recipe.prune.calibration else None,
    }
    return "synthetic" in corpora or "sentinel_synthetic" in recipe.evaluate.tasks


def _prepare(
    recipe: Recipe,
    all_cells: list[tuple[str, PruneSpec | None]],
    record: RunRecord,
    folder: Path,
    progress: Progress,
) -> Prepared:
    from sentinel_research.evaluation.limits import check_limits
    from sentinel_research.pruning import load

    source = recipe.model
    if recipe.train is not None:
        checkpoint = folder / "model"
        if not checkpoint.exists():
            _train(recipe, record, folder, progress)
        # a resumed run and an uninterrupted one both read the stored weights
        source = source.model_copy(
            update={
                "architecture": None,
                "config": {},
                "agency": None,
                "tokenizer": None,
                "pretrained": str(checkpoint),
            }
        )
    model, tokenizer, record.load = load(source)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    open_cells = {cell.id for cell in record.cells if cell.status != "done"}
    specs = [spec for cell_id, spec in all_cells if spec and cell_id in open_cells]
    pruner = Pruner(model, tokenizer, recipe, specs)
    record.write(folder)
    return Prepared(model, tokenizer, pruner)


def _train(recipe: Recipe, record: RunRecord, folder: Path, progress: Progress) -> None:
    from sentinel_research.data.calibration import corpus_tokenizer, training_blocks
    from sentinel_research.evaluation.limits import check_limits
    from sentinel_research.models import build, load_tokenizer, place, save, with_agency
    from sentinel_research.training import train

    assert recipe.train is not None  # the recipe was validated: these two come together
    assert recipe.model.architecture is not None
    tokenizer = (
        load_tokenizer(recipe.model)
        if recipe.model.tokenizer
        else corpus_tokenizer(recipe.train.corpus)
    )
    model = build(recipe.model.architecture, recipe.model.config, tokenizer, seed=recipe.train.seed)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    model = with_agency(model, recipe.model)
    place(model, recipe.model.device)
    blocks = training_blocks(recipe.train, tokenizer)
    progress.start(f"{recipe.name}: training", recipe.train.num_steps)
    model, record.train = train(model, recipe.train, blocks, folder / "training", progress=progress)
    # the weights come last: where they are, the record knows how they were made
    record.write(folder)
    save(model, tokenizer, folder / "model")


def _add_cells(
    record: RunRecord, all_cells: list[tuple[str, PruneSpec | None]], folder: Path
) -> None:
    known = {cell.id for cell in record.cells}
    record.cells = [
        *record.cells,
        *(
            CellRecord(id=cell_id, prune_spec=spec.model_dump(mode="json") if spec else None)
            for cell_id, spec in all_cells
            if cell_id not in known
        ),
    ]
    record.write(folder)
