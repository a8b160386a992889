"""Work shared among threads: every item once, and errors come back."""

import threading

import pytest
import torch

from sentinel_research.ops.threads import share


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_items", [1, 2, 7])
def test_every_item_is_handled_once(num_threads: int, num_items: int) -> None:
    handled: list[int] = []
    lock = threading.Lock()

    def kernel(first: int, stop: int, what: str) -> None:
        assert what == "given"
        with lock:
            handled.extend(range(first, stop))

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        share(kernel, num_items, 1 << 30, "given")
    finally:
        torch.set_num_threads(before)
    assert sorted(handled) == list(range(num_items))


def test_little_work_stays_in_the_calling_thread() -> None:
    threads = set()

    def kernel(first: int, stop: int) -> None:
        threads.add(threading.get_ident())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        share(kernel, 4, (1 << 20) - 1)
        assert threads == {threading.get_ident()}
        share(kernel, 4, 1 << 20)
        assert len(threads) > 1
    finally:
        torch.set_num_threads(before)


def test_error_of_a_thread_reaches_the_caller() -> None:
    def kernel(first: int, stop: int) -> None:
        raise ValueError(f"item {first}")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="item 0"):
            share(kernel, 4, 1 << 30)
    finally:
        torch.set_num_threads(before)
