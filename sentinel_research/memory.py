"""The peak memory of a piece of work in this process, measured and never estimated.

On a GPU that is what torch allocated. Elsewhere it is the resident set: Linux keeps its largest
value and lets a process start the count anew, so nothing is sampled and nothing is missed.
"""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

from sentinel_research.errors import SentinelError

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
Kind = Literal["resident set", "cuda"]


class PeakMemory:
    """A context manager that knows afterwards how far memory rose inside it.

    Args:
        device: torch device of the work.

    Attributes:
        kind: What is measured.
        absent: Why nothing is measured; empty where it is.
        before_bytes: At the start; None where nothing is measured.
        peak_bytes: The largest inside; None where nothing is measured, and before the end.

    Example:
        >>> with PeakMemory("cpu") as memory:
        ...     block = bytes(50_000_000)
        >>> memory.absent or memory.peak_bytes - memory.before_bytes > 40_000_000
        True
    """

    def __init__(self, device: str) -> None:
        self.kind: Kind = "cuda" if device.startswith("cuda") else "resident set"
        is_known = self.kind == "cuda" or _RESET.exists()
        self.absent = "" if is_known else f"{sys.platform} keeps no peak that can start anew"
        self.before_bytes: int | None = None
        self.peak_bytes: int | None = None
        self._device = device

    def __enter__(self) -> "PeakMemory":
        if self.kind == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
            self.before_bytes = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
        elif not self.absent:
            _give_back()
            self.before_bytes = _read("VmRSS")
            _RESET.write_text(_RESET_PEAK, encoding="ascii")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.kind == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        elif not self.absent:
            self.peak_bytes = _read("VmHWM")


def high_water(device: str) -> int | None:
    """The largest memory in bytes since the process, or the last measurement, began.

    None where the system does not know.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _read("VmHWM") if _STATUS.exists() else None


def _read(key: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SentinelError(f"{_STATUS} has no {key}")


def _give_back() -> None:
    """Hand memory that was freed back to the system, where the C library can."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
