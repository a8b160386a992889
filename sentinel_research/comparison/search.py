"""The search for the settings of one architecture: optuna proposes, the record remembers.

The trials in the run's record are all that a search knows. For every trial a study is made of them
in memory, with a sampler of that trial's own seed: an interrupted search goes on with the trials
that an uninterrupted one has, and nothing but the record is stored or read.

Reference:
    Akiba et al. 2019, Optuna: a next-generation hyperparameter optimization framework, KDD;
    Bergstra et al. 2011, Algorithms for hyper-parameter optimization, NeurIPS (the sampler `tpe`)
"""

import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.record import CellRecord
from sentinel_research.specs import TuneSpec

STOPPED = "stopped_by_search"
"""Key of a trial's train report, with the step after which the pruner stopped it."""
_STARTUP = 4
"""Complete trials without any stopping; also independent draws before the sampler learns."""


def check_optuna() -> None:
    """Refuse a search where optuna is not installed.

    Raises:
        UsageError: with what to install.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "`tune` searches with optuna, which is not installed",
            "pip install sentinel-research[search]",
        )


def propose(spec: TuneSpec, trials: Sequence[CellRecord], number: int) -> dict[str, float]:
    """The settings of a trial.

    Args:
        spec: The search.
        trials: Every earlier trial, in order.
        number: Of the trial.
    """
    import optuna

    # a seed for every trial: no state that an interruption could lose
    seed = (spec.seed * 1_000_003 + number) % 2**32
    sampler: Any = optuna.samplers.RandomSampler(seed=seed)
    if spec.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
    trial = _study(spec, trials, sampler).ask(_distributions(spec))
    return {name: float(trial.params[name]) for name in spec.names}


class Search:
    """The trials of one architecture, as cells of a run's record.

    Args:
        spec: Budget, space, sampler and pruner.
        trials: Its cells, in order; settings and what became of them are filled in.
        num_steps: Of a whole training.
    """

    def __init__(self, spec: TuneSpec, trials: list[CellRecord], num_steps: int) -> None:
        self._spec, self._trials, self._num_steps = spec, trials, num_steps

    def settle(self, cell: CellRecord) -> bool:
        """Give a trial the settings that those before lead to, if it has none.

        Returns:
            Whether it is to be trained: one that diverged would diverge again, and counts.
        """
        assert cell.arm is not None  # trials have one
        assert cell.arm.trial is not None
        if cell.arm.settings is None:
            cell.arm.settings = propose(self._spec, self._before(cell), cell.arm.trial)
            cell.arm.learning_rate = cell.arm.settings.get("learning_rate")
        return outcome(cell) != "diverged"

    def adjustments(self, cell: CellRecord) -> Any:
        """What stops a trial early, as `training.Adjustments`."""
        from sentinel_research.comparison.stop import StopTrial
        from sentinel_research.training.adjust import Adjustments

        before = self._before(cell)
        asked = partial(stopped_at, self._spec, before, num_steps=self._num_steps)
        return Adjustments(callbacks=(StopTrial(asked),))

    def marked(self, cell: CellRecord, report: dict[str, Any]) -> dict[str, Any]:
        """A trial's train report, with the step after which the pruner gave it up.

        It follows from the losses alone, however often the training was interrupted.
        """
        step = stopped_at(self._spec, self._before(cell), report["validation"], self._num_steps)
        return report if step is None else {**report, STOPPED: step}

    def choose(self, others: Sequence[CellRecord]) -> dict[str, Any]:
        """Give the settings of the lowest validation loss to the other seeds.

        Args:
            others: Their cells.

        Returns:
            See `budget`; `chosen` is null if no trial came to its end.
        """
        complete = [cell for cell in self._trials if outcome(cell) == "complete"]
        best = min(complete, key=lambda cell: (cell.train or {})["validation_loss"], default=None)
        for cell in self._trials:
            assert cell.arm is not None
            cell.arm.is_chosen = cell is best
        for cell in others if best is not None else ():
            assert cell.arm is not None
            assert best is not None
            assert best.arm is not None
            cell.arm.settings, cell.arm.learning_rate = best.arm.settings, best.arm.learning_rate
        return budget(self._spec, self._trials, best)

    def _before(self, cell: CellRecord) -> list[CellRecord]:
        return self._trials[: self._trials.index(cell)]


def stopped_at(
    spec: TuneSpec,
    trials: Sequence[CellRecord],
    losses: Sequence[dict[str, Any]],
    num_steps: int,
) -> int | None:
    """The first step after which a trial is given up; None if it never is.

    Args:
        spec: The search.
        trials: Every earlier trial, in order.
        losses: `step` and `loss` of every validation of the trial.
        num_steps: Of a whole training, after which there is nothing left to give up.
    """
    import optuna

    if spec.pruner == "none":
        return None
    trial = _study(spec, trials, optuna.samplers.RandomSampler(seed=0)).ask()
    for entry in losses:
        trial.report(entry["loss"], entry["step"])
        if entry["step"] < num_steps and trial.should_prune():
            return int(entry["step"])
    return None


def outcome(cell: CellRecord) -> str:
    """How a trial ended: `complete`, `stopped`, `diverged` or `failed`; `open` if it has not."""
    train = cell.train or {}
    if "diverged" in train:
        return "diverged"
    if cell.status == "failed":
        return "failed"
    if train.get("validation_loss") is None:
        return "open"
    return "stopped" if STOPPED in train else "complete"


def budget(
    spec: TuneSpec, trials: Sequence[CellRecord], chosen: CellRecord | None
) -> dict[str, Any]:
    """What a search was given, what it spent, and what it found, for the record.

    Args:
        spec: The search.
        trials: All of them, in order.
        chosen: The best; None if none came to its end.
    """
    ends = [outcome(cell) for cell in trials]
    reports = [cell.train or {} for cell in trials]
    settings = [(cell.arm.settings if cell.arm else None) or {} for cell in trials]
    best = settings[list(trials).index(chosen)] if chosen is not None else {}
    drawn = {name: [one[name] for one in settings] for name in best}
    is_several = len(trials) > 1
    return {
        "asked": spec.model_dump(mode="json"),
        "num_trials": len(trials),
        **{f"num_{end}": ends.count(end) for end in ("complete", "stopped", "diverged", "failed")},
        "num_steps": sum(report.get("num_steps", 0) for report in reports),
        "num_tokens": sum(report.get("num_tokens", 0) for report in reports),
        "seconds": sum(report.get("seconds", 0.0) for report in reports),
        "chosen": None if chosen is None else {"cell": chosen.id, **best},
        "validation_loss": None if chosen is None else (chosen.train or {})["validation_loss"],
        "at_edge": [
            name
            for name, value in best.items()
            if is_several and value in (min(drawn[name]), max(drawn[name]))
        ],
        "trials": [
            {
                "cell": cell.id,
                "settings": own,
                "outcome": end,
                "validation_loss": report.get("validation_loss"),
                "num_steps": report.get("num_steps", 0),
            }
            for cell, own, end, report in zip(trials, settings, ends, reports, strict=True)
        ],
    }


def _distributions(spec: TuneSpec) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    return {
        name: FloatDistribution(low, high, log=scale == "log")
        for name, (low, high, scale) in sorted(spec.space.items())
    }


def _study(spec: TuneSpec, trials: Sequence[CellRecord], sampler: Any) -> Any:
    """A study in memory that has the trials of the record."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP)
    study = optuna.create_study(direction="minimize", sampler=sampler, pruner=pruner)
    states = {
        "complete": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
    }
    for cell in trials:
        assert cell.arm is not None
        state = states.get(outcome(cell), optuna.trial.TrialState.FAIL)
        report = cell.train or {}
        is_complete = state == optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=cell.arm.settings or {},
                distributions=_distributions(spec) if cell.arm.settings else {},
                value=report["validation_loss"] if is_complete else None,
                intermediate_values={
                    entry["step"]: entry["loss"] for entry in report.get("validation", ())
                },
            )
        )
    return study
