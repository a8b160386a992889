"""Task files of the user's own, named by `evaluate.include_path`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.data.tasks import find_tasks, include_tasks
from sentinel_research.errors import UsageError
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord
from sentinel_research.specs import EvalSpec

TASK = """\
task: parity
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["even", "odd"]
doc_to_target: answer
metric_list: [{metric: acc}]
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    include_tasks([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one task of four questions."""
    rows = [f'{{"question": "{n} is", "answer": {n % 2}}}' for n in range(4)]
    data = tmp_path / "parity.jsonl"
    data.write_text("\n".join(rows))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parity.yaml").write_text(TASK.replace("FILE", str(data)))
    return tmp_path / "mine"


def test_run_measures_a_task_of_ones_own(folder: Path, tmp_path: Path) -> None:
    model = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    words = ["evaluate", str(model), "--tasks", "parity", "--include_path", str(folder)]
    assert main([*words, "--output", str(tmp_path / "out"), "--quiet"]) == 0
    found = RunRecord.read(tmp_path / "out").cell("dense").evaluation
    assert found is not None
    assert 0 <= found.measurement("parity", "acc").value <= 1


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder of tasks"):
        include_tasks([tmp_path / "nowhere"])


def test_folders_of_another_recipe_are_forgotten(folder: Path) -> None:
    include_tasks([folder])
    assert "parity" in find_tasks([]).task_index
    include_tasks([])
    assert "parity" not in find_tasks([]).task_index


def test_recipes_without_it_keep_their_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = EvalSpec(tasks=["t"])
    fingerprint = asked.fingerprint()
    assert EvalSpec(tasks=["t"], include_path=(Path("mine"),)).fingerprint() != fingerprint
    monkeypatch.setattr(EvalSpec, "YOUNGER", frozenset())
    assert asked.fingerprint() != fingerprint
