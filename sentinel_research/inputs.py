"""What a run read: provenance of every dataset, and that nothing was fitted on evaluation text."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sentinel_research.record import Check, EvaluationReport, RunRecord
from sentinel_research.specs import Recipe

_FITTED_SPLIT = "train"
_EVALUATED_SPLIT = "test"


def record_inputs(recipe: Recipe, record: RunRecord, evaluation: EvaluationReport) -> None:
    """Fill in the run's datasets, and check that fitting and evaluation share no document.

    Args:
        recipe: The recipe.
        record: Its record; `datasets` and `checks` are set here.
        evaluation: Of the dense model, for the tasks' own data.
    """
    from sentinel_research.data.corpora import load_corpus
    from sentinel_research.data.provenance import provenance_of

    record.datasets, record.checks = list(evaluation.datasets), []
    for role, corpus in _fitted(recipe):
        documents = load_corpus(corpus, _FITTED_SPLIT)
        record.datasets.append({"task": role, **asdict(provenance_of(documents))})
        fitted = set(documents["text"])
        for task, evaluated in _evaluated(evaluation.lm_eval["configs"]):
            shared = fitted & set(load_corpus(evaluated, _EVALUATED_SPLIT)["text"])
            record.checks.append(
                Check(
                    name=f"{role} shares no document with {task}",
                    passed=not shared,
                    detail=f"{len(shared)} documents of {corpus} ({_FITTED_SPLIT}) are among the "
                    f"evaluated ones of {evaluated} ({_EVALUATED_SPLIT})",
                )
            )


def _fitted(recipe: Recipe) -> list[tuple[str, str]]:
    """Corpora that something was fitted on, with the role they played."""
    found = []
    if recipe.train is not None:
        found.append(("training", recipe.train.corpus))
    if recipe.prune is not None and recipe.prune.calibration is not None:
        found.append(("calibration", recipe.prune.calibration.corpus))
    return found


def _evaluated(configs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tasks that score one of the named corpora; lm-eval's own tasks name none."""
    return [
        (task, config["dataset_kwargs"]["corpus"])
        for task, config in configs.items()
        if "corpus" in (config.get("dataset_kwargs") or {})
    ]
