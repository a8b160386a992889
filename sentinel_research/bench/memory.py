"""How far each step of a pruning raises the memory of a fresh process.

Linux keeps the largest resident set of a process and lets the process start the count anew, so
nothing is sampled and nothing is missed. Each step runs once on a tiny model before, which loads
the code that it needs.
"""

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from sentinel_research.bench.machine import wait_for
from sentinel_research.bench.models import gpt2
from sentinel_research.bench.schema import Memory, Size
from sentinel_research.bench.steps import steps
from sentinel_research.bench.timing import Action
from sentinel_research.errors import SentinelError

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class MemoryUse(NamedTuple):
    """What a fresh process said."""

    kind: Literal["resident set", "cuda"]
    rows: tuple[Memory, ...]
    reason: str | None


def measure_memory(size: Size, device: str) -> MemoryUse:
    """Run every step in a fresh process and read its memory."""
    kind: Literal["resident set", "cuda"] = (
        "cuda" if torch.device(device).type == "cuda" else "resident set"
    )
    if kind == "resident set" and not _RESET.exists():
        return MemoryUse(kind, (), f"{sys.platform} keeps no peak that a process can start anew")
    done = subprocess.run(
        [sys.executable, "-m", __name__, size, device], capture_output=True, text=True
    )
    if done.returncode:
        raise SentinelError(
            f"the process that measures memory ended with {done.returncode}",
            done.stderr.strip()[-2000:],
        )
    rows = tuple(Memory.model_validate(row) for row in json.loads(done.stdout))
    return MemoryUse(kind, rows, None)


def _read(key: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SentinelError(f"{_STATUS} has no {key}")


def _run(name: str, action: Action, device: str) -> Memory:
    prepared = action.prepare()
    gc.collect()
    wait_for(device)
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = action.run(prepared)
        wait_for(device)
        peak = torch.cuda.max_memory_allocated(device)
    else:
        _give_back()
        before = _read("VmRSS")
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        result = action.run(prepared)
        peak = _read("VmHWM")
    del result
    return Memory(name=name, before_bytes=before, peak_bytes=peak, rise_bytes=peak - before)


def _give_back() -> None:
    """Hand memory that was freed back to the system, where the C library can."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


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
