"""A sweep over pruned heads beside lm-eval's own command, started once for each cell's model.

Both are measured as whole processes, from the start of the interpreter to its end: what a sweep
shares is also what every process of its own has to load. The sweep saves every model too; the other
command reads those folders.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sentinel_research.bench.models import SCALES, describe, gpt2_of
from sentinel_research.bench.schema import SweepCell, SweepSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.data import tasks
from sentinel_research.errors import SentinelError
from sentinel_research.evaluation import read_samples
from sentinel_research.machine import Watch
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.recipe import parse
from sentinel_research.record import Check, RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.sweep import run_sweep
from sentinel_research.timing import Sample, compare

MIN_SPEEDUP = 8.0
"""Times as fast as one process a cell."""
ALLOWED_DIFFERENCE = 1e-4
"""Nats of a log-likelihood."""
_BATCH_SIZE = 16
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# questions, and letters that all of a task begin with, as examples do
_TASKS: dict[str, dict[Size, tuple[int, int]]] = {
    "bench_choices": {"tiny": (6, 0), "124m": (100, 0)},
    "bench_few_shot": {"tiny": (3, 40), "124m": (10, 300)},
}
# of the cells whose models are measured alone too
_ALONE = ("dense", "magnitude_l2-0.5", "gate_gradient-0.75")


class _Ended(NamedTuple):
    """A process that came to its end."""

    sample: Sample
    peak_bytes: int


def bench_sweep(size: Size, device: str, num_pairs: int) -> SweepSection:
    """Run a sweep of 16 cells and single commands in turns; every run is a process of its own."""
    watch = Watch(device, torch.float32)
    ours, stock, peaks = [], [], []
    cells: list[SweepCell] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _prepare(place, size)
        for index in range(num_pairs):
            output = place / f"sweep{index}"
            words = [sys.executable, "-m", __name__, str(place), str(output), size, device]
            ended = _timed(words, place)
            ours.append(ended.sample)
            peaks.append(ended.peak_bytes)
            cell = _ALONE[index % len(_ALONE)]
            ended, difference = _alone(place, output, cell, device)
            cells.append(
                SweepCell(
                    cell=cell,
                    largest_difference=difference,
                    wall_seconds=ended.sample.wall_seconds,
                    cpu_seconds=ended.sample.cpu_seconds,
                    peak_bytes=ended.peak_bytes,
                )
            )
            number = len(RunRecord.read(output).cells)
            stock.append(Sample(*(round(number * one, 9) for one in ended.sample)))
    model = "16m" if SCALES[size].has_meaning else "tiny"
    comparison = compare(
        f"{model}/{number} cells",
        ("one sweep", ours),
        (f"{number} processes of lm_eval --model hf", stock),
    )
    speedup = 1 / comparison.cpu.median
    worst = max(one.largest_difference for one in cells)
    checks = [
        Check(
            name=f"log-likelihoods within {ALLOWED_DIFFERENCE:g} of stock's, equal metrics",
            passed=worst <= ALLOWED_DIFFERENCE,
            detail=f"largest difference {worst:.1e}",
        )
    ]
    if SCALES[size].has_meaning:
        name = f"at least {MIN_SPEEDUP:g} times as fast as a process a cell, in processor time"
        checks.append(Check(name=name, passed=speedup >= MIN_SPEEDUP, detail=f"{speedup:.1f}"))
    return SweepSection(
        conditions=watch.conditions(),
        model=describe(gpt2_of(model, "cpu")),
        comparisons=(comparison,),
        checks=tuple(checks),
        num_cells=number,
        tasks={task: sizes[size][0] for task, sizes in _TASKS.items()},
        cells=tuple(cells),
        peak_bytes=max(peaks),
    )


def _prepare(place: Path, size: Size) -> None:
    """The model, and both tasks with their questions, as files."""
    width = "16m" if SCALES[size].has_meaning else "tiny"
    save(gpt2_of(width, "cpu"), byte_tokenizer(), place / "model")
    rng = np.random.default_rng(0)
    (place / "tasks").mkdir()
    for task, sizes in _TASKS.items():
        number, header_length = sizes[size]
        header = _letters(rng, header_length)
        rows = [
            {
                "question": header + _letters(rng, int(rng.integers(25, 61))),
                "choices": [_letters(rng, int(rng.integers(1, 7))) for _ in range(4)],
                "label": int(rng.integers(4)),
            }
            for _ in range(number)
        ]
        data = place / f"{task}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = {
            "task": task,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_target": "label",
            "doc_to_choice": "choices",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        }
        # JSON is YAML
        (place / "tasks" / f"{task}.yaml").write_text(json.dumps(config), encoding="utf-8")


def _letters(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list(_LETTERS), length))


def sweep_recipe(place: Path, size: Size, device: str) -> Recipe:
    """Sixteen cells: the dense model, and five masks of heads at three fractions."""
    content = {
        "name": "bench-sweep",
        "description": "Heads of one model by four scorers at three fractions.",
        "model": {"pretrained": str(place / "model"), "device": device},
        "prune": {
            "scorers": ["random", "magnitude_l2", "gate_gradient", "entropy_low"],
            "fractions": [0.25, 0.5, 0.75],
            "seeds": [0, 1],
            "calibration": {
                "corpus": "synthetic",
                "num_sequences": 8,
                "sequence_length": 64 if SCALES[size].has_meaning else 16,
            },
            "save_models": True,
        },
        "evaluate": {
            "tasks": list(_TASKS),
            "batch_size": _BATCH_SIZE,
            "prefix_token_id": 10,
        },
        "sweep": {},
    }
    return parse(Recipe, content, "sentinel bench")


def _alone(place: Path, output: Path, cell: str, device: str) -> tuple[_Ended, float]:
    """One model by lm-eval's own command; its time, and how far its answers are from ours."""
    own = RunRecord.read(output).cell(cell)
    folder = output / own.model_folder if own.model_folder else place / "model"
    arguments = f"pretrained={folder},trust_remote_code=True,prefix_token_id=10"
    results = place / f"{output.name}-stock"
    words = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", arguments]
    words += ["--tasks", ",".join(_TASKS), "--include_path", str(place / "tasks")]
    words += ["--batch_size", str(_BATCH_SIZE), "--device", device]
    words += ["--output_path", str(results), "--log_samples"]
    ended = _timed(words, place)
    assert own.evaluation is not None  # the sweep is done
    worst = 0.0
    for task in _TASKS:
        (path,) = results.rglob(f"samples_{task}_*.jsonl")
        theirs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ours = read_samples(output / own.evaluation.samples[task])
        for one, other in zip(ours, theirs, strict=True):
            worst = max(worst, _difference(one, other))
    return ended, worst


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest of a document's log-likelihoods; infinite where a metric differs."""
    if any(one[metric] != other[metric] for metric in ("doc_id", "acc", "acc_norm")):
        return float("inf")
    answers = zip(one["filtered_resps"], other["filtered_resps"], strict=True)
    # stock writes them as text
    return max(abs(float(ours[0]) - float(theirs[0])) for ours, theirs in answers)


def _timed(words: Sequence[str], place: Path) -> _Ended:
    """Run a process to its end."""
    environment = {**os.environ, "HF_DATASETS_CACHE": str(place / "cache")}
    log = place / "log"
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
        raise SentinelError(f"{' '.join(words)} ended with {process.returncode}", said)
    cpu = usage.ru_utime + usage.ru_stime
    return _Ended(Sample(round(wall, 9), round(cpu, 9)), usage.ru_maxrss * 1024)


def _main(place: str, output: str, size: Size, device: str) -> None:
    from sentinel_research.process import prepare_process

    prepare_process()
    # the project's own tasks are not measured
    tasks.task_folder = lambda: Path(place) / "tasks"
    swept = run_sweep(sweep_recipe(Path(place), size, device), Path(output))
    if not swept.is_sound:
        raise SystemExit(str([*swept.failures, *swept.failed_checks]))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
