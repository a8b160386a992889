"""Small lm-eval tasks of every kind, whose data is made in memory."""

from pathlib import Path

import pytest

from sentinel_research.data import tasks

_DATA = """
from datasets import Dataset, DatasetDict

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _sums(first, last):
    return Dataset.from_list(
        [
            {
                "idx": index - first,
                "question": f"What is {NUMBERS[index]} plus nothing?",
                "options": [NUMBERS[(index + shift) % 13] for shift in (1, 0, 2)],
                "answer": NUMBERS[index],
                "answers": [NUMBERS[index], f"the number {NUMBERS[index]}"],
                "label": 1,
                "hidden": -1,
                "note": "",
            }
            for index in range(first, last)
        ]
    )


def sums(**_):
    return DatasetDict({"train": _sums(0, 9), "test": _sums(9, 13)})


def right(doc):
    return doc["label"]


def sentences(doc):
    return [f"{doc['question']} It is {option}" for option in doc["options"]]
"""
_ASK = 'doc_to_text: "{{question}}\\nAnswer:"'
_CHOICE = f"output_type: multiple_choice\n{_ASK}\ndoc_to_choice: options"
_TASKS = {
    "choice": f"{_CHOICE}\ndoc_to_target: label\ndescription: 'Numbers. '\ntag: sums",
    "choice_by_name": f"{_CHOICE}\ndoc_to_target: answer\ntag: sums",
    "choice_in_context": (
        "output_type: multiple_choice\ndoc_to_text: !function data.right\n"
        "doc_to_choice: !function data.sentences\ndoc_to_target: ', as all know'\n"
        "target_delimiter: ''"
    ),
    "choice_hidden": f"{_CHOICE}\ndoc_to_target: hidden",
    "choice_leaky": f"{_CHOICE}\ndoc_to_target: label\ntraining_split: test",
    "generate": f"output_type: generate_until\n{_ASK}\ndoc_to_target: answer",
    "generate_several": (
        f"output_type: generate_until\n{_ASK}\ndoc_to_target: answers\ngen_prefix: 'It is'"
    ),
    "generate_nothing": f"output_type: generate_until\n{_ASK}\ndoc_to_target: note",
    "last_word": (
        "output_type: loglikelihood\ndoc_to_text: '{{question}}'\ndoc_to_target: ' {{answer}}'"
    ),
    "space_before": (
        "output_type: multiple_choice\ndoc_to_text: '{{question}}  '\ndoc_to_choice: options\n"
        "doc_to_target: label\ntarget_delimiter: ''"
    ),
    "no_prompt": "output_type: loglikelihood\ndoc_to_text: ''\ndoc_to_target: '{{answer}}'",
    "bos_in_target": (
        "output_type: loglikelihood\ndoc_to_text: ''\ndoc_to_target: '<bos>{{answer}}'"
    ),
    "bos_in_prompt": (
        "output_type: loglikelihood\ndoc_to_text: '<bos>{{question}}'\ndoc_to_target: ' {{answer}}'"
    ),
    "blank_prompt": "output_type: loglikelihood\ndoc_to_text: ' '\ndoc_to_target: '{{answer}}'",
    "whole": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: question",
    "untrained": f"{_CHOICE}\ndoc_to_target: label\ntraining_split: null",
    "misnamed": f"{_CHOICE}\ndoc_to_target: label\ntraining_split: training",
    # lm-eval itself reads the training split, unless the examples come from another
    "misnamed_with_examples": (
        f"{_CHOICE}\ndoc_to_target: label\ntraining_split: training\nfewshot_split: test"
    ),
}
_COMMON = "custom_dataset: !function data.sums\ntest_split: test\nmetadata: {version: 1}\n"


@pytest.fixture
def small_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks on nine training and four test documents, in place of the project's."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "data.py").write_text(_DATA)
    for name, text in _TASKS.items():
        split = "" if "training_split" in text else "training_split: train\n"
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{text}\n{split}{_COMMON}")
    monkeypatch.setattr(tasks, "task_folder", lambda: folder)
    return folder
