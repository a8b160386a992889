"""Independent pieces of a kernel's work, shared among as many threads as torch would use.

The kernels release the interpreter's lock. One compiled form serves any number of threads, where
numba's own threading would compile each kernel a second time, for several seconds.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch

# elementary operations below which threads cost more than they bring
_WORTH_THREADS = 1 << 20


def share(kernel: Callable[..., Any], num_items: int, num_operations: int, *args: Any) -> None:
    """Call `kernel(first, stop, *args)` for ranges of items that cover all of them once.

    Args:
        kernel: Releases the interpreter's lock; every item writes places of its own.
        num_items: How many there are.
        num_operations: About how much work they are together.
        *args: What it reads and writes.
    """
    num_threads = min(torch.get_num_threads(), num_items)
    if num_threads <= 1 or num_operations < _WORTH_THREADS:
        kernel(0, num_items, *args)
        return
    ends = [num_items * index // num_threads for index in range(num_threads + 1)]
    pool = _pool(os.getpid(), num_threads)
    jobs = [pool.submit(kernel, *ends[index : index + 2], *args) for index in range(num_threads)]
    for job in jobs:
        job.result()


@lru_cache(maxsize=1)
def _pool(_process: int, num_threads: int) -> ThreadPoolExecutor:
    """Kept from call to call; a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="kernel")
