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


def share(kernel: Callable[..., Any], num_items: int, *args: Any) -> None:
    """Call `kernel(first, stop, *args)` for ranges of items that cover all of them once.

    Args:
        kernel: Releases the interpreter's lock, and treats every item alike.
        num_items: How many there are.
        *args: What it reads and writes.
    """
    num_threads = min(torch.get_num_threads(), num_items)
    if num_threads <= 1:
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
