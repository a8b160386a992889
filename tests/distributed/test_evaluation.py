"""Several processes give the numbers of one, for lm-eval's command and for a run of ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.errors import SentinelError
from sentinel_research.evaluation.scores.division import exchange, shares
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.contract.scores import adapters, read_by, scores
from tests.downstream.conftest import write_mirror
from tests.processes import Processes

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("processes")]
TASKS = "sentinel_rte,sentinel_squad,sentinel_synthetic"
# float32 sums in batches of another make
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An evaluation of few documents: choices behind examples, written answers, whole texts."""
    folder = tmp_path_factory.mktemp("divided")
    write_mirror(folder)
    save(tiny_model("gpt2", n_positions=1500), byte_tokenizer(), folder / "model")
    options = f"pretrained={folder / 'model'},prefix_token_id=10,quiet=True"
    found = ["sentinel", "lm-eval", "--model", "sentinel", "--model_args", options]
    return [*found, "--tasks", TASKS, "--num_fewshot", "1", "--limit", "3", "--log_samples"]


def _evaluated(words: list[str], folder: Path, processes: Processes, num: int) -> Any:
    """Metrics, and the documents and answers of every task."""
    mirror = str(Path(words[5].split(",")[0].removeprefix("pretrained=")).parent / "hub")
    program = [*words, "--output_path", str(folder / "out")]
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTINEL_DATA", mirror)
        for done in processes.run_together(program, folder, num):
            assert done.returncode == 0, done.stderr[-3000:]
    (results,) = (folder / "out").rglob("results_*.json")
    samples = {
        path.name.split("_2")[0]: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (folder / "out").rglob("samples_*.jsonl")
    }
    return json.loads(results.read_text()), samples


@pytest.mark.parametrize("num_processes", [2, 5])
def test_processes_give_the_metrics_and_the_order_of_one(
    num_processes: int, words: list[str], tmp_path: Path, processes: Processes
) -> None:
    """Five processes are more than there are documents."""
    one, expected = _evaluated(words, tmp_path / "one", processes, 1)
    several, found = _evaluated(words, tmp_path / "several", processes, num_processes)
    for task, metrics in one["results"].items():
        for name, value in metrics.items():
            if isinstance(value, float):
                assert several["results"][task][name] == pytest.approx(value, abs=TOLERANCE), name
    assert found.keys() == expected.keys()
    for task, rows in expected.items():
        for key in ("doc_id", "prompt_hash", "target_hash"):
            assert [row[key] for row in found[task]] == [row[key] for row in rows]
    written = [row["resps"] for row in expected["samples_sentinel_squad"]]
    assert [row["resps"] for row in found["samples_sentinel_squad"]] == written


def test_parts_are_neighbours_of_about_equal_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert shares([1, 1, 1, 1, 1, 1]) == [range(2), range(2, 4), range(4, 6)]
    assert shares([6, 1, 1, 1, 1, 1, 1]) == [range(1), range(1, 3), range(3, 7)]
    assert shares([1]) == [range(0), range(1), range(1, 1)]
    assert shares([]) == [range(0)] * 3


def test_every_process_reads_its_part_and_knows_all_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, pairs = tiny_model("gpt2"), [([one, 1, 2, 3], [one]) for one in range(6)]
    _, ours = adapters(model, 8)
    alone = scores(ours, pairs)
    seen = read_by(model)
    told: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for process in ("0", "1"):
        monkeypatch.setenv("RANK", process)
        monkeypatch.setattr(
            "sentinel_research.evaluation.scores.division.exchange",
            lambda own, asked: told.extend(own) or [*told, *told][: len(asked)],
        )
        found = scores(ours, pairs)
    assert seen == [(3, 4), (3, 4)]
    assert [value for value, _ in found] == pytest.approx(
        [value for value, _ in alone], abs=TOLERANCE
    )
    assert ours.scoring["num_processes"] == 2


def test_processes_that_divide_the_layers_all_read_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, pairs = tiny_model("gpt2"), [([one, 1, 2, 3], [one]) for one in range(6)]
    _, ours = adapters(model, 8)
    ours._has_parts_of_layers = True
    expected = scores(ours, pairs)
    seen = read_by(model)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert scores(ours, pairs) == expected
    assert seen == [(6, 4)]


def test_processes_that_ask_different_things_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(
        "sentinel_research.distributed.gather",
        lambda value: [value, {"question": "another", "answers": []}],
    )
    with pytest.raises(SentinelError, match="process 1 evaluates something else than process 0"):
        exchange([1.0], ["a request"])
