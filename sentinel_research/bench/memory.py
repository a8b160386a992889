"""How far each step of a pruning raises the memory of a fresh process.

Each step runs once on a tiny model before, which loads the code that it needs.
"""

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sentinel_research.bench.models import gpt2
from sentinel_research.bench.schema import Memory
from sentinel_research.bench.schema_base import Size
from sentinel_research.bench.steps import steps
from sentinel_research.errors import SentinelError
from sentinel_research.memory import Kind, PeakMemory
from sentinel_research.timing import Action


class MemoryUse(NamedTuple):
    """What a fresh process said."""

    kind: Kind
    rows: tuple[Memory, ...]
    reason: str | None


def measure_memory(size: Size, device: str) -> MemoryUse:
    """Run every step in a fresh process and read its memory."""
    memory = PeakMemory(device)
    if memory.absent:
        return MemoryUse(memory.kind, (), memory.absent)
    done = subprocess.run(
        [sys.executable, "-m", __name__, size, device], capture_output=True, text=True
    )
    if done.returncode:
        raise SentinelError(
            f"the process that measures memory ended with {done.returncode}",
            done.stderr.strip()[-2000:],
        )
    rows = tuple(Memory.model_validate(row) for row in json.loads(done.stdout))
    return MemoryUse(memory.kind, rows, None)


def _run(name: str, action: Action, device: str) -> Memory:
    prepared = action.prepare()
    gc.collect()
    with PeakMemory(device) as memory:
        result = action.run(prepared)
    del result
    before, peak = memory.before_bytes, memory.peak_bytes
    assert before is not None  # the caller knows that it can be measured
    assert peak is not None
    return Memory(name=name, before_bytes=before, peak_bytes=peak, rise_bytes=peak - before)


def _every_step(size: Size, device: str) -> list[Memory]:
    model = gpt2(size, device)
    with tempfile.TemporaryDirectory() as folder:
        listed = steps(model, size, Path(folder))
        actions = {"deepcopy": listed[0].plain, **{step.name: step.action for step in listed}}
        return [_run(name, action, device) for name, action in actions.items()]


def _main(size: Size, device: str) -> None:
    _every_step("tiny", device)
    rows = [row.model_dump(mode="json") for row in _every_step(size, device)]
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
