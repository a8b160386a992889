"""A finished run of two cells, small enough to change one thing at a time."""

from collections.abc import Callable
from typing import Any

import pytest

from sentinel_research.recipe import parse
from sentinel_research.record import CellRecord, EvaluationReport, Measurement, RunRecord
from sentinel_research.specs import Recipe

TASK = "sentinel_wikitext2"
RECIPE = {
    "name": "mine",
    "description": "A small run.",
    "model": {"pretrained": "org/model"},
    "prune": {"scorers": ["magnitude_l2"], "fractions": [0, 0.5]},
    "evaluate": {"tasks": [TASK], "limit": 20},
    "baseline": {"suite": "mine", "model": "small"},
}
LOADED = {
    "pretrained": "org/model",
    "dtype": "float32",
    "weights_sha256": {"model.safetensors": "aa" * 32},
    "tokenizer_sha256": {"tokenizer.json": "bb" * 32},
    "config_sha256": "cc" * 32,
}
PLAN = {"before": {"family": "gpt2"}, "kept": [{"heads": [0, 2]}], "scorer": "magnitude_l2"}
Make = Callable[..., RunRecord]


def _evaluation(perplexity: float) -> EvaluationReport:
    return EvaluationReport(
        measurements=[
            Measurement(
                task=TASK,
                metric="token_perplexity",
                value=perplexity,
                stderr=0.5,
                higher_is_better=False,
            ),
            Measurement(task=TASK, metric="acc", value=0.5, stderr=None, higher_is_better=True),
        ],
        task_hashes={TASK: "h0"},
        document_hashes={TASK: "d0"},
        prompt_hashes={TASK: "p0"},
        num_documents={TASK: 20},
        max_length=128,
        seconds=1.0,
        lm_eval={"n-shot": {TASK: 0}, "versions": {TASK: 1.0}},
    )


def make_record(**fields: Any) -> RunRecord:
    """A finished run; fields of the record to replace."""
    recipe = parse(Recipe, RECIPE, "test").model_dump(mode="json")
    dense = CellRecord(id="dense", status="done", prune_spec=None, evaluation=_evaluation(10.0))
    pruned = CellRecord(
        id="magnitude_l2-0.5",
        status="done",
        prune_spec={"scorer": "magnitude_l2", "fraction": 0.5},
        prune={"plan": PLAN},
        evaluation=_evaluation(12.0),
    )
    content: dict[str, Any] = {
        "name": "mine",
        "status": "done",
        "recipe": recipe,
        "recipe_fingerprint": "0123456789abcdef",
        "synthetic_data": False,
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:01:00+00:00",
        "environment": {"device": "cpu", "packages": {"torch": "2.13"}},
        "load": dict(LOADED),
        "cells": [dense, pruned],
    }
    return RunRecord(**content | fields)


@pytest.fixture
def record() -> RunRecord:
    """The run."""
    return make_record()
