"""Documents of lm-eval tasks: which can be calibrated on, and which are the same."""

from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml

from sentinel_research.data.task_documents import (
    WITH_TRAINING_DOCUMENTS,
    fingerprints,
    load_tasks,
    text_fingerprint,
    training_documents,
    training_provenance,
)
from sentinel_research.errors import DataError, UsageError


def _first(task: str) -> tuple[Any, Any]:
    found, documents = training_documents(task)
    return found, documents[0]


def test_training_documents_are_those_of_the_training_split(small_tasks: object) -> None:
    task, documents = training_documents("choice")
    assert len(documents) == 9
    assert len(task.eval_docs) == 4
    provenance = training_provenance(task)
    assert (provenance["task"], provenance["split"]) == ("choice", "train")
    assert provenance["num_documents"] == 9


def test_task_without_training_split_is_refused_with_tasks_that_have_one(
    small_tasks: object,
) -> None:
    with pytest.raises(UsageError, match="'untrained' has no training split") as caught:
        training_documents("untrained")
    assert "boolq" in caught.value.hint
    assert "calibration.corpus" in caught.value.hint


def test_tasks_named_in_that_message_have_a_training_split() -> None:
    folder = Path(lm_eval.tasks.__file__).parent
    places = {
        "arc_easy": "arc/arc_easy.yaml",
        "boolq": "super_glue/boolq/default.yaml",
        "gsm8k": "gsm8k/gsm8k.yaml",
        "hellaswag": "hellaswag/hellaswag.yaml",
        "sst2": "glue/sst2/default.yaml",
        "winogrande": "winogrande/default.yaml",
    }
    assert tuple(places) == WITH_TRAINING_DOCUMENTS
    for name, place in places.items():
        lines = (folder / place).read_text().splitlines()
        plain = yaml.safe_load("\n".join(line for line in lines if "!function" not in line))
        assert plain["task"] == name
        assert plain["training_split"]


@pytest.mark.parametrize("task", ["misnamed", "misnamed_with_examples"])
def test_training_split_that_the_data_lacks_is_named(task: str, small_tasks: object) -> None:
    with pytest.raises(DataError, match=f"data of {task} lacks 'training', a split"):
        training_documents(task)


def test_group_of_tasks_is_refused_with_its_tasks(small_tasks: object) -> None:
    with pytest.raises(UsageError, match="'sums' stands for 2 tasks") as caught:
        training_documents("sums")
    assert "choice, choice_by_name" in caught.value.hint
    assert list(load_tasks(["sums"])) == ["choice", "choice_by_name"]


def test_data_that_cannot_be_had_is_a_data_error(small_tasks: Path) -> None:
    (small_tasks / "lost.yaml").write_text("task: lost\ndataset_path: nobody/nothing\n")
    with pytest.raises(DataError, match="lost cannot be loaded") as caught:
        load_tasks(["lost"])
    assert "mirror" in caught.value.hint


def test_code_that_cannot_be_imported_is_a_usage_error(small_tasks: Path) -> None:
    text = "task: broken\ncustom_dataset: !function nowhere.data\ntest_split: test\n"
    (small_tasks / "broken.yaml").write_text(text)
    (small_tasks / "nowhere.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match="code of broken cannot be imported"):
        load_tasks(["broken"])


def test_same_document_under_another_prompt_or_row_number_shares_a_fingerprint(
    small_tasks: object,
) -> None:
    task, document = _first("choice")
    other, _ = _first("generate")
    moved = {**document, "idx": 77}
    assert fingerprints(task, document) & fingerprints(other, moved)


def test_same_prompt_from_other_fields_shares_a_fingerprint(small_tasks: object) -> None:
    task, document = _first("choice")
    spaced = {**document, "note": "another", "question": document["question"].replace(" ", "  ")}
    assert fingerprints(task, document) & fingerprints(task, spaced)


def test_other_documents_share_no_fingerprint(small_tasks: object) -> None:
    for name in ("choice", "choice_in_context", "generate", "last_word", "whole"):
        task, documents = training_documents(name)
        everything = [fingerprints(task, document) for document in documents]
        assert len(frozenset().union(*everything)) == 2 * len(documents)


def test_whole_text_has_the_fingerprint_of_the_text(small_tasks: object) -> None:
    task, document = _first("whole")
    assert text_fingerprint(document["question"] + "\n") in fingerprints(task, document)
