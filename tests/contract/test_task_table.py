"""docs/tasks.md says of every task what its file says, and as many documents as there are."""

from pathlib import Path

import pytest

from sentinel_research.data.mirror import VARIABLE
from sentinel_research.data.mmlu import SUBJECTS
from sentinel_research.data.task_documents import load_tasks
from sentinel_research.data.task_table import IN_MIRROR, NUM_DOCUMENTS, render_task_table
from sentinel_research.data.tasks import find_tasks, list_tasks

DOCS = Path(__file__).parents[2] / "docs" / "tasks.md"
OF_MMLU = [f"sentinel_mmlu_{subject}" for group in SUBJECTS.values() for subject in group]
ONE_BY_ONE = sorted(set(NUM_DOCUMENTS) - set(OF_MMLU))


def test_table_of_the_docs_is_that_of_the_task_files() -> None:
    # python -m sentinel_research.data.task_table writes it
    assert DOCS.read_text(encoding="utf-8") == render_task_table()


def test_every_task_has_its_number_of_documents_stated() -> None:
    index = find_tasks([]).task_index
    tasks = {name for name, _ in list_tasks() if isinstance(index[name].cfg.get("task"), str)}
    assert tasks == set(NUM_DOCUMENTS)
    assert sum(NUM_DOCUMENTS[name] for name in OF_MMLU) == 14_042


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_mirror_holds_the_stated_documents(
    name: str, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(mirror))
    documents = load_tasks([name])[name].eval_docs
    assert len(documents) == IN_MIRROR.get(name, NUM_DOCUMENTS[name])


def test_mirror_holds_all_questions_of_mmlu(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as parquet

    # counted in the files: building 57 tasks takes half a minute
    for name in OF_MMLU:
        (file,) = mirror.glob(f"cais/mmlu/{name.removeprefix('sentinel_mmlu_')}/test-*.parquet")
        assert parquet.read_metadata(file).num_rows == NUM_DOCUMENTS[name]
