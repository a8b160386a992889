"""What a run was fitted on shares no document with what it evaluates, and the check can fail."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.data.corpora import load_corpus
from sentinel_research.inputs import record_inputs
from sentinel_research.record import EvaluationReport, RunRecord
from sentinel_research.specs import Recipe


def _recorded(
    calibration: dict[str, Any] | None,
    tasks: list[str],
    seeds: list[int] | None = None,
    variants: dict[str, Any] | None = None,
) -> RunRecord:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "description": "d",
            "model": {"pretrained": "x"},
            "prune": {
                "scorers": ["entropy"],
                "fractions": [0.5],
                "calibration": calibration,
                "calibration_seeds": seeds,
                "variants": variants or {},
            },
            "evaluate": {"tasks": tasks, "limit": 1},
        }
    )
    record = RunRecord(
        name="r",
        recipe={},
        recipe_fingerprint="f",
        synthetic_data=False,
        started_at="now",
        environment={},
    )
    evaluation = EvaluationReport(
        measurements=[],
        task_hashes={},
        num_documents={},
        datasets=[],
        max_length=9,
        samples={},
        seconds=0.0,
        lm_eval={},
    )
    record_inputs(recipe, record, evaluation)
    return record


def test_task_calibration_on_other_documents_passes(small_tasks: object) -> None:
    record = _recorded({"task": "choice", "num_sequences": 9}, ["choice", "generate"])
    assert [check.name for check in record.checks] == [
        "calibration shares no document with choice",
        "calibration shares no document with generate",
    ]
    assert all(check.passed for check in record.checks)
    assert record.checks[0].detail == (
        "0 of 9 documents of choice (train) are among the 4 that choice evaluates"
    )
    (dataset,) = record.datasets
    assert (dataset["task"], dataset["split"]) == ("calibration", "train")


def test_the_calibration_of_every_variant_is_checked(small_tasks: object) -> None:
    variants = {
        name: {"calibration": {"task": name.replace("-", "_"), "num_sequences": 3}}
        for name in ("choice", "choice-leaky")
    }
    record = _recorded(None, ["choice_leaky"], variants=variants)
    assert [check.detail.split(" documents of ")[1][:12] for check in record.checks] == [
        "choice (trai",
        "choice_leaky",
    ]
    assert [check.passed for check in record.checks] == [True, False]
    assert len(record.datasets) == 2


def test_task_whose_training_split_is_its_test_split_fails_the_check(small_tasks: object) -> None:
    record = _recorded({"task": "choice_leaky", "num_sequences": 3}, ["choice_leaky"])
    (check,) = record.failed_checks()
    assert check.detail == (
        "3 of 3 documents of choice_leaky (test) are among the 4 that choice_leaky evaluates"
    )


def test_evaluated_document_under_another_prompt_fails_the_check(small_tasks: object) -> None:
    record = _recorded({"task": "choice_leaky", "num_sequences": 2}, ["choice", "last_word"])
    assert [check.passed for check in record.checks] == [False, False]


def test_documents_of_every_calibration_seed_are_checked(small_tasks: object) -> None:
    record = _recorded({"task": "choice", "num_sequences": 4}, ["choice"], seeds=[0, 1, 2])
    (check,) = record.checks
    num_documents = int(check.detail.split(" ")[2])
    assert 4 < num_documents <= 9


@pytest.mark.parametrize(("split", "passed"), [("test", True), ("train", False)])
def test_corpus_is_compared_with_any_task(split: str, passed: bool, small_tasks: Path) -> None:
    texts = [load_corpus("synthetic", split)["text"][index] for index in (0, 5)]
    (small_tasks / "texts.py").write_text(
        "from datasets import Dataset, DatasetDict\n\ndef texts(**_):\n"
        f"    return DatasetDict({{'test': Dataset.from_dict({{'page': {texts}}})}})\n"
    )
    (small_tasks / "pages.yaml").write_text(
        "task: pages\ncustom_dataset: !function texts.texts\ntest_split: test\n"
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: page\n"
    )
    record = _recorded({"corpus": "synthetic"}, ["pages", "choice"])
    assert [check.passed for check in record.checks] == [passed, True]
    num_shared = 0 if passed else 2
    assert record.checks[0].detail.startswith(f"{num_shared} of 8192 documents of synthetic")
