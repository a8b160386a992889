"""Run folders of prunings whose answers a test made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentinel_research.record import RunRecord
from tests.judgement.folders import Metric, Task, write_run

Answers = Mapping[str, Sequence[float]]
"""1 or 0 for each document, by task."""


def pruning(scorer: str, fraction: float, *, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A PruneSpec as a record keeps it.

    Args:
        scorer: A registered one.
        fraction: Share removed.
        seed: Of a random mask.
        **fields: Others, such as `variant` and `calibration`.
    """
    text = {"corpus": "synthetic", "task": None, "seed": 0}
    own = {"scorer": scorer, "fraction": fraction, "seed": seed, "calibration": text}
    return {**own, "variant": None, **fields}


def write_prunings(
    folder: Path, cells: Mapping[str, tuple[dict[str, Any] | None, Answers]], num_choices: int = 4
) -> RunRecord:
    """A finished run.

    Args:
        folder: Where it goes.
        cells: Pruning and answers of each; the dense model has no pruning.
        num_choices: Of every question.
    """
    write_run(
        folder,
        {
            name: {task: Task({"acc": Metric(None, items)}) for task, items in answers.items()}
            for name, (_, answers) in cells.items()
        },
    )
    record = RunRecord.read(folder)
    for cell in record.cells:
        cell.prune_spec = cells[cell.id][0]
        assert cell.evaluation is not None
        for config in cell.evaluation.lm_eval["configs"].values():
            config["output_type"] = "multiple_choice"
        for name in cell.evaluation.samples.values():
            path = folder / name
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            lines = [json.dumps({**row, "resps": [[0.0]] * num_choices}) + "\n" for row in rows]
            path.write_text("".join(lines))
    record.write(folder)
    return record


def right(share: float, num: int = 100) -> list[float]:
    """Answers of which the first `share` is right."""
    return [float(place < share * num) for place in range(num)]
