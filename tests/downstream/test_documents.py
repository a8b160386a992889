"""What models learn: the task's own documents, divided by content, answers only in the loss."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sentinel_research.data.task_documents import load_tasks
from sentinel_research.downstream.documents import (
    TaskDocuments,
    answer_set,
    choose_documents,
    learnable,
)
from sentinel_research.downstream.plan import Unit, load_lessons
from sentinel_research.errors import DataError, UsageError
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.specs import DownstreamSpec, EvalSpec
from tests.downstream.conftest import LENGTH, TRAIN, recipe_of

MODELS: dict[str, Any] = {"one": ["x"]}
IGNORED = -100


def _chosen(task: str, **changes: Any) -> TaskDocuments:
    spec = DownstreamSpec.model_validate({"models": MODELS, "train": TRAIN, **changes})
    (found,) = choose_documents(Unit(task, load_tasks([task])), spec)
    return found


def _ids(documents: list[dict[str, Any]]) -> set[int]:
    return {one["idx"] for one in documents}


def _evaluate(**changes: Any) -> EvalSpec:
    return EvalSpec(tasks=["x"], max_length=LENGTH, **changes)


def test_training_documents_that_are_evaluated_too_are_left_out(lessons: Path) -> None:
    found = _chosen("sentinel_cola")
    assert _ids(found.train) | _ids(found.held_out) == set(range(3, 12))
    assert found.report["num_evaluated_too"] == 3


def test_no_document_is_both_trained_on_and_held_out(lessons: Path) -> None:
    found = _chosen("sentinel_sst2", held_out=0.4)
    assert not _ids(found.train) & _ids(found.held_out)
    assert len(found.train) + len(found.held_out) == 12
    assert len(found.held_out) == 5


def test_documents_are_spread_evenly_over_the_split(lessons: Path) -> None:
    found = _chosen("sentinel_sst2", num_documents=6)
    assert sorted(_ids(found.train) | _ids(found.held_out)) == [0, 2, 4, 6, 8, 10]


def test_majority_is_the_most_frequent_answer_of_the_training_documents(lessons: Path) -> None:
    found = _chosen("sentinel_sst2")
    assert found.majority == 1
    assert found.report["majority_share"] == pytest.approx(8 / 12)
    assert _chosen("sentinel_squad").majority is None


@pytest.mark.parametrize(("task", "answer"), [("sentinel_sst2", " positive"), ("squad", " ")])
def test_only_the_tokens_of_the_answer_count_in_the_loss(
    task: str, answer: str, lessons: Path
) -> None:
    name = "sentinel_squad" if task == "squad" else task
    found = _chosen(name)
    tokenizer = byte_tokenizer()
    answers = answer_set([found], tokenizer, _evaluate())
    said = set()
    for row, labels in zip(answers.blocks, answers.labels, strict=True):
        counted = labels != IGNORED
        assert (row[counted] == labels[counted]).all()
        text = tokenizer.decode(row[: counted.nonzero()[0].max() + 1])
        said.add(tokenizer.decode(labels[counted]))
        assert text.endswith(tuple(said))
    if task == "squad":
        assert said == {f"{answer}{one['answers']['text'][0]}" for one in found.train}
    else:
        assert said == {" positive", " negative"}


def test_prompt_is_the_one_that_is_evaluated(lessons: Path) -> None:
    """The training document put in the place of an evaluated one is asked in the same words."""
    found = _chosen("sentinel_rte")
    task = load_tasks(["sentinel_rte"])["sentinel_rte"]
    answers = answer_set([found], byte_tokenizer(), _evaluate())
    texts = {byte_tokenizer().decode(row[row > 0]) for row in answers.blocks}
    for document in found.train:
        prompt = task.fewshot_context(document, num_fewshot=0)
        requests = task.construct_requests(document, prompt)
        right = requests[document["label"]].args
        assert f"{right[0]}{right[1]}" in texts


def test_tasks_that_are_learnt_together_share_one_set(lessons: Path) -> None:
    tasks = ("sentinel_mmlu_abstract_algebra", "sentinel_mmlu_anatomy")
    spec = DownstreamSpec.model_validate({"models": MODELS, "train": TRAIN})
    chosen = choose_documents(Unit("both", load_tasks(tasks)), spec)
    answers = answer_set(chosen, byte_tokenizer(), _evaluate())
    assert [len(one.train) for one in chosen] == [4, 4]
    assert answers.report["num_sequences"] == 8
    # rows of both are mixed: the last ones of a pass that fills no batch are not those of one task
    texts = [byte_tokenizer().decode(row) for row in answers.blocks]
    first = ["anat" in text for text in texts]
    assert first != sorted(first)
    assert first != sorted(first, reverse=True)


def test_what_is_chosen_depends_on_no_tokenizer_and_no_seed(lessons: Path) -> None:
    one, two = _chosen("sentinel_sst2"), _chosen("sentinel_sst2", seeds=[7])
    assert one.report == two.report
    first, second = (answer_set([each], byte_tokenizer(), _evaluate()) for each in (one, two))
    assert np.array_equal(first.blocks, second.blocks)


def test_other_documents_have_another_fingerprint(lessons: Path) -> None:
    reports = [_chosen("sentinel_sst2", num_documents=number).report for number in (6, 8)]
    assert reports[0]["documents_sha256"] != reports[1]["documents_sha256"]


@pytest.mark.parametrize(
    ("task", "changes", "messages"),
    [
        ("sentinel_wnli", {}, ["3 of the 3 training documents of 'sentinel_wnli' are evaluated"]),
        (
            "sentinel_rte",
            {"train": {"batch_size": 10}},
            ["'sentinel_rte' has 9 documents to train on, fewer than one batch of 10"],
        ),
    ],
)
def test_too_few_documents_are_refused(
    task: str, changes: dict[str, Any], messages: list[str], lessons: Path
) -> None:
    with pytest.raises(DataError) as error:
        _chosen(task, **changes)
    assert all(message in str(error.value) for message in messages)


def test_task_without_training_documents_is_refused() -> None:
    task = SimpleNamespace(
        has_training_docs=lambda: False, config=SimpleNamespace(task="only_asked")
    )
    with pytest.raises(UsageError, match="'only_asked' has no training split to learn from"):
        learnable(task)


def test_task_that_is_named_alone_and_by_its_group_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = {"group": {"rte": 1, "sst2": 2}, "rte": {"rte": 1}}
    monkeypatch.setattr(
        "sentinel_research.data.task_documents.load_groups",
        lambda names: {"tasks": groups[names[0]], "groups": {}},
    )
    with pytest.raises(UsageError, match="names 'rte' more than once"):
        load_lessons(recipe_of(MODELS, ["group", "rte"]))
    alone = load_lessons(recipe_of(MODELS, ["group"])).units
    assert [unit.name for unit in alone] == ["rte", "sst2"]
    together = load_lessons(recipe_of(MODELS, ["group"], together=["group"])).units
    assert [unit.name for unit in together] == ["group"]
