"""Large outputs without page faults: a buffer is lent again when the tensor over it is gone.

The C library gives big blocks back to the system at once, so that every fresh output of a few
megabytes costs a page fault per 4 KiB, several times what a memory-bound kernel itself costs.
A few freed blocks are kept here instead. Only CPU tensors need this, torch's CUDA allocator caches.
"""

import threading
import weakref

import numpy as np
import torch
from torch.utils import deterministic

MAX_IDLE_BYTES = 1 << 30
"""Bytes of freed buffers that are kept; what exceeds them goes back to the system."""
# smaller blocks stay in the C library's heap anyway
_MIN_BYTES = 1 << 17
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class BufferPool:
    """Freed memory blocks by size."""

    def __init__(self, max_idle_bytes: int = MAX_IDLE_BYTES) -> None:
        self._max_idle_bytes = max_idle_bytes
        self._idle: list[np.ndarray] = []
        # reentrant: a collection of garbage inside `empty` may give a block back
        self._lock = threading.RLock()

    @property
    def num_idle_bytes(self) -> int:
        """Bytes that are held for the next caller."""
        return sum(block.nbytes for block in self._idle)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised CPU tensor whose memory returns to the pool when nothing uses it.

        Args:
            shape: Of the tensor.
            dtype: float32 or float64.

        Returns:
            A contiguous tensor; NaN-filled where torch fills its own uninitialised memory.
        """
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        if num_bytes < _MIN_BYTES:
            return torch.empty(shape, dtype=dtype)
        block = self._take(num_bytes)
        view = block[:num_bytes].view(_NUMPY[dtype]).reshape(shape)
        # torch holds on to exactly this array for as long as the storage lives
        weakref.finalize(view, self._give_back, block).atexit = False
        tensor = torch.from_numpy(view)
        if torch.are_deterministic_algorithms_enabled() and _fills_memory():
            tensor.fill_(torch.nan)
        return tensor

    def _take(self, num_bytes: int) -> np.ndarray:
        with self._lock:
            for index in reversed(range(len(self._idle))):
                # a much larger block would leave the next large request without one
                if num_bytes <= self._idle[index].nbytes <= 2 * num_bytes:
                    return self._idle.pop(index)
        return np.empty(num_bytes, dtype=np.uint8)

    def _give_back(self, block: np.ndarray) -> None:
        with self._lock:
            self._idle.append(block)
            while self.num_idle_bytes > self._max_idle_bytes:
                self._idle.pop(0)


def _fills_memory() -> bool:
    filled: bool = getattr(deterministic, "fill_uninitialized_memory")  # noqa: B009
    return filled


POOL = BufferPool()
"""The pool of this process."""
