"""A mirror with a few rows of every benchmark, in the layout of the hub."""

from pathlib import Path

import pytest

from sentinel_research.data.mmlu import SUBJECTS
from tests.mirrors import Rows, use, write_repository

NUM_ROWS = 12


def classified(*columns: str, num_classes: int = 2) -> Rows:
    """Rows of short texts, whose classes come in turn."""
    return [
        {**{name: f"The {name} {row}." for name in columns}, "idx": row, "label": row % num_classes}
        for row in range(NUM_ROWS)
    ]


def squad(*, has_unanswerable: bool = False) -> Rows:
    """Questions on a text each; every third one has no answer, if asked for."""
    return [
        {
            "id": str(row),
            "title": "Numbers",
            "context": f"The number is {row}.",
            "question": "Which number is it?",
            "answers": {
                "text": [] if has_unanswerable and row % 3 == 0 else [str(row)],
                "answer_start": [] if has_unanswerable and row % 3 == 0 else [14],
            },
        }
        for row in range(NUM_ROWS)
    ]


def _sense() -> Rows:
    rows = classified("sentence1", "sentence2")
    return [{**row, "word": "The", "start1": 0, "end1": 3} for row in rows]


def _pronouns() -> Rows:
    spans = {"span1_text": "Mark", "span2_index": 2, "span2_text": "he"}
    rows = classified("text")
    return [{**row, **spans, "text": "Mark said he came ."} for row in rows]


def _record() -> Rows:
    return [
        {
            "passage": f"Ann met Bob {row}.\n@highlight\nBob left",
            "query": "Then @placeholder left.",
            "entities": ["Bob", "Ann", "Bob"],
            "answers": ["Bob"],
            "idx": {"passage": row, "query": row},
        }
        for row in range(NUM_ROWS)
    ]


def _multirc() -> Rows:
    return [
        {
            "paragraph": f"The number is {row // 2}.",
            "question": "Which number is it?",
            "answer": str(row // 2 + row % 2),
            "idx": {"paragraph": row // 2, "question": row // 2, "answer": row},
            "label": 1 - row % 2,
        }
        for row in range(2 * NUM_ROWS)
    ]


def _copa() -> Rows:
    rows = classified("premise", "choice1", "choice2")
    return [{**row, "question": ("cause", "effect")[row["idx"] % 2]} for row in rows]


def _similar() -> Rows:
    return [
        {**row, "label": row["idx"] * 5 / (NUM_ROWS - 1)}
        for row in classified("sentence1", "sentence2")
    ]


def _questions(subject: str) -> Rows:
    return [
        {"question": f"{subject} {row}?", "choices": list("wxyz"), "answer": row % 4}
        for row in range(NUM_ROWS)
    ]


_PAIR = ("sentence1", "sentence2")
REPOSITORIES: dict[str, dict[str, Rows]] = {
    "nyu-mll/glue": {
        "cola": classified("sentence"),
        "sst2": classified("sentence"),
        "mrpc": classified(*_PAIR),
        "qqp": classified("question1", "question2"),
        "mnli": classified("premise", "hypothesis", num_classes=3),
        "qnli": classified("question", "sentence"),
        "rte": classified(*_PAIR),
        "wnli": classified(*_PAIR),
        "stsb": _similar(),
    },
    "aps/super_glue": {
        "boolq": classified("question", "passage"),
        "cb": classified("premise", "hypothesis", num_classes=3),
        "copa": _copa(),
        "multirc": _multirc(),
        "record": _record(),
        "rte": classified("premise", "hypothesis"),
        "wic": _sense(),
        "wsc.fixed": _pronouns(),
    },
    "rajpurkar/squad": {"plain_text": squad()},
    "rajpurkar/squad_v2": {"squad_v2": squad(has_unanswerable=True)},
    "cais/mmlu": {subject: _questions(subject) for subject in list(SUBJECTS["stem"])[:2]},
}


def _splits(repo_id: str, config: str, rows: Rows) -> dict[str, Rows]:
    if repo_id == "cais/mmlu":
        return {"dev": rows[:5], "test": rows}
    if config == "mnli":
        return {"train": rows, "validation_matched": rows, "validation_mismatched": rows[:9]}
    return {"train": rows, "validation": rows}


@pytest.fixture(scope="session")
def benchmark_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror, written once."""
    root = tmp_path_factory.mktemp("benchmarks")
    for repo_id, configs in REPOSITORIES.items():
        write_repository(
            root / "hub",
            repo_id,
            {config: _splits(repo_id, config, rows) for config, rows in configs.items()},
        )
    return root


@pytest.fixture
def benchmarks(benchmark_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That mirror, in use."""
    use(benchmark_files, monkeypatch)
    return benchmark_files / "hub"
