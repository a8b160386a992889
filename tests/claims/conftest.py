"""A folder of claims with records and a speed file of a few numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel_research.claims.evidence import keep
from sentinel_research.record import Arm, CellRecord, EvaluationReport, Measurement, RunRecord
from tests.reporting.records import toy_record

TASK = "toy_task"
METRIC = f"{TASK}/token_perplexity"
Values = Mapping[str, float]


def cell(name: str, value: float, **fields: Any) -> CellRecord:
    """A measured cell."""
    one = Measurement(
        task=TASK, metric="token_perplexity", value=value, stderr=0.1, higher_is_better=False
    )
    evaluation = EvaluationReport(
        measurements=[one],
        task_hashes={TASK: "h"},
        num_documents={TASK: 3},
        max_length=16,
        seconds=1.0,
        lm_eval={},
        generation=fields.pop("generation", None),
        long_context=fields.pop("long_context", None),
    )
    return CellRecord(id=name, status="done", prune_spec=None, evaluation=evaluation, **fields)


def run_of(cells: Sequence[CellRecord]) -> RunRecord:
    """A finished run of these cells."""
    return toy_record(list(cells), {})


def by_name(values: Values) -> RunRecord:
    """A finished run, a cell for each name."""
    return run_of([cell(name, value) for name, value in values.items()])


def arm(name: str, seed: int, value: float, **fields: Any) -> CellRecord:
    """A measured model of a comparison."""
    own = Arm(name=name, seed=seed, learning_rate=0.1, **fields)
    suffix = "-tuning" if fields else ""
    return cell(f"{name}-seed{seed}{suffix}", value, arm=own)


class Folder:
    """What a test puts in its folder of baselines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "claims").mkdir()
        (path / "speed").mkdir()

    def record(self, name: str, record: RunRecord) -> None:
        """Keep a run."""
        keep(self.path, name, record)

    def claim(self, name: str, parts: Sequence[Mapping[str, Any]], **fields: Any) -> Path:
        """Write a claim, in what a person would write."""
        content = {"claim": f"{name} is so", "source": "a paper", "scale": "toys", **fields}
        if parts:
            content["parts"] = list(parts)
        path = self.path / "claims" / f"{name}.yaml"
        path.write_text("# by hand\n" + yaml.safe_dump(content, sort_keys=False))
        return path

    def speed(self, comparisons: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        """Write a speed file with a section `resolvent` of these times."""
        from sentinel_research.timing import Sample, compare

        content = json.loads(SPEED.read_text())
        section = {key: content["resolvent"][key] for key in content["resolvent"]}
        section["comparisons"] = [
            compare(
                name,
                ("ours", [Sample(one, one) for one, _ in pairs]),
                ("other", [Sample(other, other) for _, other in pairs]),
            ).model_dump(mode="json")
            for name, pairs in comparisons.items()
        ]
        whole = {key: content[key] for key in ("format_version", "device", "size")}
        text = json.dumps({**whole, "resolvent": section})
        (self.path / "speed" / "toy.json").write_text(text)


SPEED = Path(__file__).parents[2] / "regression_baselines" / "speed" / "amd-epyc.json"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder of baselines."""
    return Folder(tmp_path)
