"""The list of a folder of runs, and a data frame of it, beside reading every record.

The records are made from a real one, of a small model that is trained, pruned and measured here:
each has another name, model, scorer, fraction, date and other numbers, and is written as runs are.
"""

import copy
import json
import random
import statistics
import tempfile
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sentinel_research.bench.schema import RunsSection
from sentinel_research.bench.schema_base import BenchModel, Size
from sentinel_research.machine import Watch
from sentinel_research.record import RECORD_FILE, Check, RunRecord
from sentinel_research.store import Query, open_store
from sentinel_research.store.frame import runs
from sentinel_research.store.index_file import INDEX_FILE
from sentinel_research.timing import Action, Comparison, compare, measure

NUM_RECORDS: dict[Size, int] = {"tiny": 20, "124m": 10_000}
MAX_SECONDS = 1.0
"""Of a list, a filtered list and a data frame of 10,000 records."""
READ = "read"
_CONDITIONS = ("scorer=magnitude_l2", "fraction>=0.5", "model=model-1*")
_WIDTH = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 128}
_SMALL = (
    f"model.config={json.dumps(_WIDTH)}",
    "train.num_steps=2",
    "train.batch_size=4",
    "prune.fractions=[0, 0.5]",
    "prune.scorers=[random, magnitude_l2]",
    "prune.seeds=[0]",
    "evaluate.limit=2",
)
# listed folders as people have them: one a study
_RUNS_A_FOLDER = 100
_SETTLING_SECONDS = 3
_FIRST_DAY = datetime(2025, 1, 1, tzinfo=timezone.utc)


def bench_runs(size: Size, device: str, num_pairs: int) -> RunsSection:
    """Time every way to look at a folder of runs, in turns with reading all of its records."""
    del device  # records have none
    num = NUM_RECORDS[size]
    with tempfile.TemporaryDirectory(prefix="bench-runs-") as folder:
        root = Path(folder)
        record = real_record(root / "real")
        num_bytes = write_records(root / "runs", record, num)
        # of files that changed a moment ago nothing counts as known
        time.sleep(_SETTLING_SECONDS)
        watch = Watch("cpu", torch.float32)
        comparisons = _compare(root / "runs", num_pairs)
        index_bytes = (root / "runs" / INDEX_FILE).stat().st_size
    measured = [len(cell.evaluation.measurements) for cell in record.cells if cell.evaluation]
    return RunsSection(
        conditions=watch.conditions(),
        model=BenchModel(
            family="gpt2",
            num_layers=_WIDTH["n_layer"],
            num_heads=_WIDTH["n_head"],
            num_kv_heads=_WIDTH["n_head"],
            hidden_size=_WIDTH["n_embd"],
            num_parameters=int((record.load or {})["num_parameters"]),
            attn_implementation=str((record.load or {})["attn_implementation"]),
        ),
        comparisons=tuple(comparisons),
        checks=tuple(map(check_seconds, comparisons)) if size != "tiny" else (),
        num_records=num,
        num_cells=num * len(record.cells),
        num_measurements=num * sum(measured),
        record_bytes=num_bytes,
        index_bytes=index_bytes,
    )


def real_record(folder: Path) -> RunRecord:
    """The record of a run that is made now, in seconds."""
    from sentinel_research.pipeline import run
    from sentinel_research.recipe import load_recipe

    return run(load_recipe("demo", list(_SMALL)).recipe, folder)


def write_records(root: Path, record: RunRecord, num: int) -> int:
    """Write records of as many runs, each with values of its own; returns their bytes."""
    content, total = record.model_dump(mode="json"), 0
    for index in range(num):
        folder = root / f"study-{index // _RUNS_A_FOLDER}" / f"run-{index}"
        for cell in record.cells:
            (folder / "cells" / cell.id).mkdir(parents=True)
        text = json.dumps(varied(content, index))
        total += (folder / RECORD_FILE).write_text(text, encoding="utf-8")
    return total


def varied(content: dict[str, Any], index: int) -> dict[str, Any]:
    """A record's content with other values everywhere that a list or a table shows.

    Args:
        content: Of a record; it is not changed.
        index: Which variation.
    """
    drawn, found = random.Random(index), copy.copy(content)  # noqa: S311
    scorer = drawn.choice(["magnitude_l2", "entropy_low", "gate_gradient", "random"])
    fraction = drawn.choice([0.1, 0.25, 0.5, 0.75])
    found["started_at"] = (_FIRST_DAY + timedelta(hours=index)).isoformat()
    found["name"] = f"recipe-{index % 50}"
    found["recipe_fingerprint"] = f"{drawn.getrandbits(64):016x}"
    model = {**content["recipe"]["model"], "pretrained": f"org/model-{index % 20}"}
    found["recipe"] = {**content["recipe"], "model": {**model, "architecture": None}}
    found["cells"] = cells = copy.deepcopy(content["cells"])
    for cell in cells:
        if cell["prune_spec"] is not None:
            cell["prune_spec"] |= {"scorer": scorer, "fraction": fraction, "seed": index}
        for one in cell["evaluation"]["measurements"]:
            one["value"] *= drawn.uniform(0.5, 2)
    if index % 100 == 0:
        found["status"], found["error"] = "failed", "the disk was full"
        cells[-1] |= {"status": "failed", "error": "the disk was full", "evaluation": None}
    return found


def _compare(root: Path, num_pairs: int) -> list[Comparison]:
    query = Query(_CONDITIONS)
    # in one round all see the same folder; what reads all leaves a whole index behind
    actions = {
        READ: Action(lambda _: open_store(root, fresh=True).list_runs(Query())),
        "list": Action(lambda _: open_store(root).list_runs(Query())),
        "filter": Action(lambda _: open_store(root).list_runs(query)),
        "cells_frame": Action(partial(_frame, root)),
    }
    samples = measure(actions, num_pairs)
    words = {
        "list": "all runs, by the index",
        "filter": f"runs with {', '.join(_CONDITIONS)}, by the index",
        "cells_frame": "data frame of all cells and metrics, by the index",
    }
    alternative = ("reading every record, and keeping an index", samples[READ])
    return [compare(name, (text, samples[name]), alternative) for name, text in words.items()]


def _frame(root: Path, _: object) -> object:
    return runs(root)


def check_seconds(one: Comparison) -> Check:
    """Whether a way to look at 10,000 records takes less than a second, in processor time: the time
    that passes is that of other programs too."""
    cpu = statistics.median(measured for measured, _ in one.cpu_seconds)
    wall = statistics.median(measured for measured, _ in one.wall_seconds)
    return Check(
        name=f"{one.name} of 10,000 records takes less than {MAX_SECONDS:g} s",
        passed=cpu < MAX_SECONDS,
        detail=f"{cpu:.3f} s of a processor, {wall:.3f} s passed, medians",
    )
