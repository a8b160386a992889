"""Carry out a comparison: match sizes, fit floors, search the grid, train all seeds, measure.

Every model goes the way of a recipe of its own (`arm_recipe`), so nothing but the architecture can
differ. The record is written after every stage; what is trained is not trained again. Architectures
are trained in the order of the recipe: one can run frozen beside a later one, seed by seed.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.cells import evaluate_cell, tell_cell
from sentinel_research.comparison.floors import run_floors
from sentinel_research.comparison.plan import arm_recipe
from sentinel_research.comparison.search import STOPPED, Search, check_optuna
from sentinel_research.errors import CheckpointError, DivergedError, SentinelError
from sentinel_research.inputs import record_inputs
from sentinel_research.progress import Progress, piece
from sentinel_research.record import CELLS_FOLDER, Arm, CellRecord, Check, RunRecord
from sentinel_research.reporting.architectures.results import cells_of
from sentinel_research.reporting.numbers import quantity
from sentinel_research.specs import ArchitectureSpec, Recipe
from sentinel_research.trained import MODEL_FOLDER, recipe_tokenizer, stored, train_model


def match_all(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Every architecture in the size that the recipe asks for.

    Args:
        recipe: With `compare`.

    Returns:
        Name -> `architecture` and the fields of `models.matching.Matched`.

    Raises:
        UsageError: if an architecture is unknown or cannot have the size.
        CheckpointError: if a frozen baseline cannot be loaded.
    """
    from sentinel_research.models.matching import match

    assert recipe.compare is not None  # the caller's recipe compares
    assert recipe.train is not None
    tokenizer = recipe_tokenizer(recipe)
    length, wanted = recipe.train.sequence_length, recipe.compare.match
    found: dict[str, dict[str, Any]] = {}
    for name, spec in recipe.compare.architectures.items():
        beside = _beside(recipe, spec, found, tokenizer)
        matched = match(spec, tokenizer, wanted, length, beside)
        found[name] = {"architecture": spec.architecture, **matched._asdict()}
    return found


def _beside(
    recipe: Recipe, spec: ArchitectureSpec, found: dict[str, dict[str, Any]], tokenizer: Any
) -> Any:
    """A model of the size of the one that runs frozen beside; None if there is none."""
    from sentinel_research.models import build, load_baseline

    if spec.agency is None:
        return None
    name = spec.agency.compared_baseline
    if name is None:
        return load_baseline(spec.agency, trust_remote_code=recipe.model.trust_remote_code)
    return build(found[name]["architecture"], found[name]["config"], tokenizer, seed=0)


def run_comparison(recipe: Recipe, record: RunRecord, folder: Path, progress: Progress) -> None:
    """Train and measure everything that the record does not have yet.

    A model that fails is recorded, the others still run.

    Args:
        recipe: With `compare`.
        record: With the planned cells.
        folder: The run folder.
        progress: Who is told about progress.

    Raises:
        UsageError, DataError: for a request that no model can serve.
    """
    assert recipe.compare is not None  # the caller's recipe compares
    if recipe.tune is not None:
        check_optuna()
    if record.comparison is None:
        record.comparison = {"models": match_all(recipe), "learning_rates": {}}
        record.write(folder)
    run_floors(recipe, record, folder, progress)
    to_train = [cell for cell in record.cells if _is_network(cell)]
    to_do = [cell for cell in to_train if cell.status != "done"]
    names = recipe.compare.architectures
    compared = [_Compared(recipe, record, folder, progress, name) for name in names]
    with piece(
        progress,
        f"{recipe.name}: trainings",
        len(to_train),
        done=len(to_train) - len(to_do),
        kinds=[cell.arm.name for cell in to_do if cell.arm],
    ):
        for one in compared:
            one.run()
    for one in compared:
        # what ran beside others is not needed any more
        one.tidy()
    evaluated = (cell.evaluation for cell in record.cells if cell.evaluation is not None)
    record_inputs(recipe, record, next(evaluated, None))
    record.checks.append(_same_blocks(record))
    record.write(folder)


def _same_blocks(record: RunRecord) -> Check:
    """All models were offered the same blocks; their order follows from the seed alone."""
    trained = [cell.train for cell in record.cells if cell.train is not None and _is_whole(cell)]
    found = Counter((one["data"]["blocks_sha256"], one["num_tokens"]) for one in trained)
    parts = [
        f"{quantity(number, 'model')}: {tokens:,} tokens of the blocks {digest[:12]}"
        for (digest, tokens), number in found.items()
    ]
    return Check(
        name="all architectures trained on the same blocks and as many tokens",
        passed=len(found) <= 1,
        detail=", ".join(parts) or "no model was trained to its end",
    )


def _is_network(cell: CellRecord) -> bool:
    """Whether a cell is trained by gradients: the floors have no seed."""
    return cell.arm is not None and cell.arm.seed is not None


def _is_whole(cell: CellRecord) -> bool:
    """Whether a cell is a network that was trained to its end."""
    return _is_network(cell) and {"diverged", STOPPED}.isdisjoint(cell.train or {})


class _Compared:
    """One architecture of a run."""

    def __init__(
        self, recipe: Recipe, record: RunRecord, folder: Path, progress: Progress, name: str
    ) -> None:
        assert record.comparison is not None  # matched before
        self._recipe, self._record, self._folder, self._progress = recipe, record, folder, progress
        self._name = name
        self._comparison = record.comparison
        self._config = record.comparison["models"][name]["config"]
        mine = [cell for cell in record.cells if cell.arm is not None and cell.arm.name == name]
        self._tuning = [cell for cell in mine if cell.arm is not None and cell.arm.is_tuning]
        self._others = [cell for cell in mine if cell not in self._tuning]
        self._search: Search | None = None
        if recipe.tune is not None and recipe.train is not None:
            self._search = Search(recipe.tune, self._tuning, recipe.train.num_steps)

    def run(self) -> None:
        """Search the grid, then train and measure every seed with the best rate."""
        for cell in self._tuning:
            if self._search is None or self._search.settle(cell):
                self._record.write(self._folder)
                self._stage_training(cell)
        if self._tuning and not self._choose():
            for cell in self._others:
                cell.status = "failed"
                what = (
                    "learning rate of the grid" if self._search is None else "trial of the search"
                )
                cell.error = f"no {what} could be trained to its end for '{self._name}'"
            self._record.write(self._folder)
            return
        for cell in self._others:
            self._stage_training(cell)
        for cell in [*self._tuning, *self._others]:
            assert cell.arm is not None
            if cell.arm.is_tuning and not cell.arm.is_chosen:
                # its place in the grid is all that it was for
                if cell.status == "started":
                    cell.status = "done"
            elif cell.status == "started":
                self._stage(cell, self._evaluate)
                tell_cell(self._progress, cell.id, self._recipe, cell, advances=False, says=True)
            self._tidy(cell)

    def _stage_training(self, cell: CellRecord) -> None:
        if cell.status != "done":
            self._stage(cell, self._train)
            self._progress.advance(cell.id)

    def tidy(self) -> None:
        """Delete all that is not to be kept and that no other model needs."""
        for cell in [*self._tuning, *self._others]:
            self._tidy(cell)

    def _tidy(self, cell: CellRecord) -> None:
        """Delete what is not to be kept; the model of a cell that failed may still be wanted."""
        assert self._recipe.compare is not None
        if self._recipe.compare.save_models or cell.status != "done" or cell.model_folder is None:
            return
        if self._runs_beside():
            return
        model = self._folder / cell.model_folder
        # an interruption may have come between the two lines below
        if distributed.is_main() and model.exists():
            shutil.rmtree(model)
        cell.model_folder = None
        self._record.write(self._folder)

    def _runs_beside(self) -> bool:
        """Whether a model that is not done yet needs these as its frozen baseline."""
        assert self._recipe.compare is not None
        baselines = self._recipe.compare.baselines
        names = [name for name, baseline in baselines.items() if baseline == self._name]
        return any(
            cell.status != "done"
            for cell in self._record.cells
            if cell.arm is not None and cell.arm.name in names
        )

    def _stage(self, cell: CellRecord, stage: Any) -> None:
        """One stage of a cell; what goes wrong is its status and not the end of the run."""
        if cell.status == "done":
            return
        cell.status, cell.error = "started", None
        try:
            stage(cell)
        except DivergedError as error:
            cell.train, cell.status, cell.error = error.report, "failed", str(error)
        except SentinelError as error:
            cell.status, cell.error = "failed", str(error)
        finally:
            self._record.write(self._folder)

    def _own_recipe(self, cell: CellRecord) -> Recipe:
        assert cell.arm is not None  # all cells of a comparison have one
        return arm_recipe(self._recipe, cell.arm, self._config, self._baseline(cell.arm))

    def _baseline(self, arm: Arm) -> str | None:
        """Folder of the model of the same seed that runs frozen beside; None if there is none."""
        assert self._recipe.compare is not None
        name = self._recipe.compare.baselines.get(self._name)
        if name is None:
            return None
        for cell in cells_of(self._record, name):
            assert cell.arm is not None  # cells of a name have one
            if cell.arm.seed == arm.seed and cell.model_folder is not None:
                return str(self._folder / cell.model_folder)
        raise CheckpointError(
            f"'{self._name}' of seed {arm.seed} has no baseline: '{name}' was not trained with it",
            "see why that one failed; the same command goes on",
        )

    def _own_folder(self, cell: CellRecord) -> Path:
        return self._folder / CELLS_FOLDER / cell.id

    def _train(self, cell: CellRecord) -> None:
        # the other seeds are no part of it
        search = self._search if cell in self._tuning else None

        def kept(report: dict[str, Any]) -> None:
            cell.train = report if search is None else search.marked(cell, report)
            self._record.write(self._folder)

        own = self._own_folder(cell)
        if not (own / MODEL_FOLDER).exists():
            train_model(
                self._own_recipe(cell),
                own,
                self._progress,
                kept,
                title=cell.id,
                adjustments=None if search is None else search.adjustments(cell),
            )
        cell.model_folder = str((own / MODEL_FOLDER).relative_to(self._folder))
        assert cell.train is not None  # kept before the model appeared
        weights = (own / MODEL_FOLDER).glob("*.safetensors")
        cell.train["stored_bytes"] = sum(path.stat().st_size for path in weights)

    def _evaluate(self, cell: CellRecord) -> None:
        from sentinel_research.pruning import load

        source = stored(self._recipe.model, self._own_folder(cell))
        model, tokenizer, _ = distributed.together(lambda: load(source))
        evaluate_cell(self._recipe, model, tokenizer, cell, self._folder, progress=self._progress)
        cell.status = "done"

    def _choose(self) -> bool:
        """Give the best of grid or search to all seeds; False if nothing of it was trained."""
        if self._search is not None:
            found = self._search.choose(self._others)
            self._comparison.setdefault("tuning", {})[self._name] = found
            self._record.write(self._folder)
            return found["chosen"] is not None
        losses = {
            cell.arm.learning_rate: cell.train["validation_loss"]
            for cell in self._tuning
            if cell.status != "failed" and cell.arm and cell.train
        }
        if not losses:
            return False
        best = min(losses, key=lambda rate: losses[rate])
        rates = sorted(cell.arm.learning_rate or 0.0 for cell in self._tuning if cell.arm)
        self._comparison["learning_rates"][self._name] = {
            "chosen": best,
            "at_edge": best in (rates[0], rates[-1]),
            "validation_losses": {repr(rate): loss for rate, loss in losses.items()},
        }
        for cell in [*self._tuning, *self._others]:
            assert cell.arm is not None
            if cell.arm.is_tuning:
                cell.arm.is_chosen = cell.arm.learning_rate == best
            else:
                cell.arm.learning_rate = best
        self._record.write(self._folder)
        return True
