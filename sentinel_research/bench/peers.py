"""Torch-Pruning and this package at the same removal, each case in a process that can be stopped.

A step of the other package that does not end within its limit is a result, not a failure.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import torch

from sentinel_research.bench import peer_torch_pruning as peer
from sentinel_research.bench.models import SCALES
from sentinel_research.bench.peer_cases import CASES, Case
from sentinel_research.bench.schema import PeerCase, PeerResult, PeersSection
from sentinel_research.bench.schema_base import BenchModel, Size
from sentinel_research.errors import SentinelError
from sentinel_research.machine import Watch
from sentinel_research.timing import Comparison

_WORKER = "sentinel_research.bench.peer_worker"
# until the first answer a process imports and builds nothing of the peer's
_START_SECONDS = 300.0
Answers = dict[str, dict[str, Any]]


def bench_peers(size: Size, device: str, num_pairs: int) -> PeersSection:
    """Run every case."""
    watch = Watch(device, torch.float32)
    cases, comparisons = [], []
    for case in CASES:
        words = [sys.executable, "-m", _WORKER, case.name, size, device, str(num_pairs)]
        answers, outcome = run_steps(words)
        found, compared = _collected(case, answers, outcome)
        cases.append(found)
        comparisons += compared
    return PeersSection(
        conditions=watch.conditions(),
        model=cases[0].model,
        comparisons=tuple(comparisons),
        peer=peer.version(),
        limit_seconds=SCALES[size].peer_limit_seconds,
        cases=tuple(cases),
    )


def run_steps(words: Sequence[str]) -> tuple[Answers, str]:
    """Run a process that announces its steps, and stop it when one takes too long.

    Args:
        words: The command; it prints what `peer_worker` says it prints.

    Returns:
        The data of every step that ended, and `done`, or which step did not end and why.
    """
    answers: Answers = {}
    step, limit = "start", _START_SECONDS
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors, _lines(words, errors) as lines:
        while True:
            try:
                line = lines.get(timeout=limit)
            except queue.Empty:
                return answers, f"did not finish in {limit:g} s: {step}"
            if line is None:
                break
            said = json.loads(line)
            if "begin" in said:
                step, limit = said["begin"], said["limit_seconds"]
            else:
                answers[said["end"]] = said["data"]
                if "error" in said["data"]:
                    return answers, f"{said['data']['error']}: {step}"
        if step not in answers:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            return answers, f"the process ended: {step}: {''.join(last)[:300]}"
    return answers, "done"


@contextlib.contextmanager
def _lines(words: Sequence[str], errors: IO[str]) -> Iterator["queue.Queue[str | None]"]:
    """Lines of a process as they come, then None; the process ends with the block."""
    found: queue.Queue[str | None] = queue.Queue()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None

    def read(stream: IO[str]) -> None:
        for line in stream:
            found.put(line)
        found.put(None)

    reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def _collected(case: Case, answers: Answers, outcome: str) -> tuple[PeerCase, list[Comparison]]:
    if "start" not in answers or "ours" not in answers:
        raise SentinelError(f"case {case.name} did not come to the peer: {outcome}")
    theirs: dict[str, Any] = {}
    for step in ("graph_and_removal", "forward_pass", "saving"):
        theirs |= {key: value for key, value in answers.get(step, {}).items() if key != "error"}
    comparisons = [
        Comparison.model_validate(answers[step]["comparison"])
        for step in ("prune_times", "forward_times")
        if "comparison" in answers.get(step, {})
    ]
    found = PeerCase(
        name=case.name,
        request=case.request,
        model=BenchModel.model_validate(answers["start"]["model"]),
        mask_effect=answers["start"]["mask_effect"],
        ours=PeerResult(outcome="done", **answers["ours"]),
        theirs=PeerResult(outcome=outcome, **theirs),
    )
    return found, comparisons
