"""Which models a comparison trains: the floors, then every architecture with its grid and seeds."""

from typing import Any

from sentinel_research.record import Arm, CellRecord
from sentinel_research.specs import CompareSpec, ModelSpec, Recipe, TuneSpec
from sentinel_research.specs.compare import NGRAM_PREFIX


def plan_comparison(spec: CompareSpec, tune: TuneSpec | None = None) -> list[CellRecord]:
    """The cells of a comparison, in the order they are trained.

    A grid of learning rates, or every trial of a search, is tried with the first seed; the other
    seeds take the best.
    """
    orders = sorted(spec.ngrams)
    arms = [Arm(name=f"{NGRAM_PREFIX}{one}", seed=None, learning_rate=None) for one in orders]
    first, *others = spec.seeds
    grid = spec.learning_rates
    for name in spec.architectures:
        if tune is not None:
            trials = range(tune.trials)
            arms += [
                Arm(name=name, seed=first, learning_rate=None, is_tuning=True, trial=trial)
                for trial in trials
            ]
        elif len(grid) > 1:
            arms += [
                Arm(name=name, seed=first, learning_rate=rate, is_tuning=True) for rate in grid
            ]
        else:
            others = list(spec.seeds)
        rate = grid[0] if len(grid) == 1 else None
        arms += [Arm(name=name, seed=seed, learning_rate=rate) for seed in others]
    return [CellRecord(id=_cell_id(arm), prune_spec=None, arm=arm) for arm in arms]


def _cell_id(arm: Arm) -> str:
    seed = "" if arm.seed is None else f"-seed{arm.seed}"
    if arm.trial is not None:
        return f"{arm.name}{seed}-trial{arm.trial}"
    rate = f"-lr{arm.learning_rate!r}" if arm.is_tuning else ""
    return f"{arm.name}{seed}{rate}"


def arm_recipe(
    recipe: Recipe, arm: Arm, config: dict[str, Any], baseline: str | None = None
) -> Recipe:
    """What one model of a comparison would be as a recipe of its own.

    Args:
        recipe: With `compare`.
        arm: One of its models; its learning rate is known, or the recipe's own.
        config: Its configuration as matched.
        baseline: Folder of the model of the comparison that its agency names, if it names one.
    """
    assert recipe.compare is not None  # the caller's recipe compares
    assert recipe.train is not None
    shared = recipe.model.model_dump(exclude={"architecture", "config", "agency"})
    spec = recipe.compare.architectures[arm.name]
    agency = spec.agency
    if agency is not None and baseline is not None:
        agency = agency.model_copy(update={"baseline": baseline})
    rate = recipe.train.learning_rate if arm.learning_rate is None else arm.learning_rate
    seed = recipe.train.seed if arm.seed is None else arm.seed
    return recipe.model_copy(
        update={
            "compare": None,
            "model": ModelSpec(
                **shared, architecture=spec.architecture, config=config, agency=agency
            ),
            "train": recipe.train.model_copy(
                update={"learning_rate": rate, **(arm.settings or {}), "seed": seed}
            ),
            "tune": None,
        }
    )
