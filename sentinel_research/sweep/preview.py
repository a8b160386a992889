"""What a sweep would do and cost: its cells counted, and their time, memory and store estimated.

Times are those of cells that an earlier run measured. Where there are none, a probe of a few
documents and one training step of each model is taken, and multiplied: documents that share their
beginnings take less than that, so the estimate is rather too high.
"""

import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.errors import SentinelError
from sentinel_research.memory import PeakMemory
from sentinel_research.record import CELLS_FOLDER, RECORD_FILE
from sentinel_research.specs import Recipe
from sentinel_research.sweep.plan import SweptModel, plan_sweep

_PROBED_DOCUMENTS = 4
# float32: the copy that is trained, its gradients, and both moments of Adam
_TRAINED_BYTES = 16


class Estimate(NamedTuple):
    """Of one model's cells."""

    seconds: dict[str, float]
    """Of a cell of each kind."""
    peak_bytes: int | None
    """Largest memory of a process that computes them; None where it cannot be known."""
    origin: str
    """Where the numbers are from."""


def preview_sweep(recipe: Recipe, folder: Path) -> list[str]:
    """Lines that say how many cells there are, and what those without a result would cost.

    Args:
        recipe: With `sweep`; its data and tasks are known.
        folder: Of the sweep, where earlier cells may be.

    Raises:
        UsageError: see `plan_sweep`.
    """
    models = plan_sweep(recipe, folder)
    number = sum(len(one.cells) for one in models.values())
    lines = [f"cells: {number:,}, of {len(models)} model{'s' * (len(models) != 1)}"]
    total, peaks, stored = 0.0, [], []
    for model in models.values():
        earlier = _earlier(model)
        done = {name for name, one in earlier.items() if one["status"] == "done"}
        to_do = Counter(cell.kind for cell in model.cells if cell.id not in done)
        stored += [one["bytes"] for one in earlier.values()]
        counts = ", ".join(f"{count:,} {kind}" for kind, count in to_do.items()) or "none"
        lines.append(
            f"  {model.name or 'the model'}: {len(model.cells):,} cells, {len(done):,} done; "
            f"to compute: {counts}"
        )
        if not to_do:
            continue
        try:
            found = _estimate(model, earlier, set(to_do))
        except SentinelError as error:
            lines.append(f"    no estimate: {error.message}")
            continue
        own = sum(found.seconds[kind] * count for kind, count in to_do.items())
        total += own
        peaks += [found.peak_bytes] if found.peak_bytes else []
        each = ", ".join(f"{kind} {seconds:.3g} s" for kind, seconds in found.seconds.items())
        lines.append(f"    {_duration(own)} ({each}; {found.origin})")
    lines.append(f"time of one process: {_duration(total)}; n workers take an n-th of it")
    if peaks:
        lines.append(f"memory of a process: {max(peaks) / 1e9:.2f} GB")
    if stored:
        lines.append(
            f"store: {statistics.mean(stored) * number / 1e9:.2g} GB of records and samples"
        )
    return lines


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _earlier(model: SweptModel) -> dict[str, dict[str, Any]]:
    """Status, cost and size of every cell that has a record."""
    found = {}
    for cell in model.cells:
        own = model.folder / CELLS_FOLDER / cell.id
        if (own / RECORD_FILE).exists():
            content = json.loads((own / RECORD_FILE).read_text(encoding="utf-8"))
            size = sum(path.stat().st_size for path in own.rglob("*") if path.is_file())
            found[cell.id] = {"status": content["status"], "bytes": size, **content["cell_of"]}
    return found


def _estimate(
    model: SweptModel, earlier: Mapping[str, Mapping[str, Any]], kinds: set[str]
) -> Estimate:
    """From earlier cells if there is one of every kind, else from a probe."""
    times: dict[str, list[float]] = {}
    peaks = []
    for one in earlier.values():
        if one["status"] == "done":
            times.setdefault(one["kind"], []).append(one["seconds"])
            peaks.append(one["peak_memory_bytes"])
    if kinds <= times.keys():
        means = {kind: statistics.mean(times[kind]) for kind in sorted(kinds)}
        number = sum(len(times[kind]) for kind in kinds)
        known = [peak for peak in peaks if peak is not None]
        return Estimate(means, max(known, default=None), f"mean of {number:,} earlier cells")
    return _probed(model, kinds)


def _probed(model: SweptModel, kinds: set[str]) -> Estimate:
    """Measure a few documents, and a training step where something is trained."""
    from sentinel_research.evaluation import evaluate
    from sentinel_research.evaluation.questions import Questions
    from sentinel_research.pruning import load
    from sentinel_research.trained import untrained

    recipe = model.recipe
    if recipe.train is None:
        subject, tokenizer, _ = load(recipe.model)
    else:
        subject, tokenizer = untrained(recipe)
        subject.eval()
    limit = min(_PROBED_DOCUMENTS, recipe.evaluate.limit or _PROBED_DOCUMENTS)
    spec = recipe.evaluate.model_copy(
        update={"limit": limit, "cache": None, "long_context": None, "generation": None}
    )
    questions = Questions()
    # the first builds the requests, which a sweep does once
    evaluate(subject, tokenizer, spec, questions=questions)
    with PeakMemory(recipe.model.device) as memory:
        start = time.perf_counter()
        report = evaluate(subject, tokenizer, spec, questions=questions)
        seconds = time.perf_counter() - start
    share = sum(_num_documents(recipe).values()) / sum(report.num_documents.values())
    found, peak = {}, memory.peak_bytes
    for cell in model.cells:
        if cell.kind in kinds and cell.kind not in found:
            found[cell.kind] = seconds * share
            if cell.recover is not None:
                found[cell.kind] += cell.recover.train.num_steps * _step(
                    subject, cell.recover.train
                )
                trained = _TRAINED_BYTES * subject.num_parameters()
                peak = peak if peak is None else max(peak, (memory.peak_bytes or 0) + trained)
    words = f"probe of {sum(report.num_documents.values())} documents"
    return Estimate(found, peak, words)


def _num_documents(recipe: Recipe) -> dict[str, int]:
    """Documents of every task that a cell is measured on."""
    from sentinel_research.data.task_documents import load_tasks

    most = recipe.evaluate.limit
    counts = {name: len(task.eval_docs) for name, task in load_tasks(recipe.evaluate.tasks).items()}
    return {name: min(count, most or count) for name, count in counts.items()}


def _step(model: Any, train: Any) -> float:
    """Seconds of a forward and backward pass over one batch of random tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (train.batch_size, train.sequence_length)
    ids = torch.randint(model.config.vocab_size, shape, generator=generator).to(model.device)
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        model.zero_grad(set_to_none=True)
        taken.append(time.perf_counter() - start)
    # the first one allocates
    return taken[-1]
