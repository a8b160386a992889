"""Reused output buffers: memory comes back, and never while somebody still reads it."""

import gc

import pytest
import torch

from sentinel_research.ops.buffers import BufferPool

LARGE = (1024, 256)
NUM_BYTES = 1024 * 256 * 4


def test_memory_of_a_dead_tensor_is_lent_again() -> None:
    pool = BufferPool()
    first = pool.empty(LARGE, torch.float32)
    address = first.data_ptr()
    del first
    assert pool.num_idle_bytes == NUM_BYTES
    assert pool.empty(LARGE, torch.float32).data_ptr() == address


def test_memory_is_kept_while_a_view_is_alive() -> None:
    pool = BufferPool()
    view = pool.empty(LARGE, torch.float32)[3:5]
    gc.collect()
    assert pool.num_idle_bytes == 0
    assert pool.empty(LARGE, torch.float32).data_ptr() != view.data_ptr()


def test_memory_is_kept_while_autograd_needs_it() -> None:
    pool = BufferPool()
    weight = torch.ones(LARGE, requires_grad=True)
    other = pool.empty(LARGE, torch.float32).fill_(2)
    loss = (weight * other).sum()
    del other
    gc.collect()
    pool.empty(LARGE, torch.float32).fill_(7)
    loss.backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full(LARGE, 2.0))


def test_oldest_memory_goes_back_to_the_system_beyond_the_limit() -> None:
    pool = BufferPool(max_idle_bytes=2 * NUM_BYTES)
    tensors = [pool.empty(LARGE, torch.float32) for _ in range(3)]
    newest = tensors[-1].data_ptr()
    while tensors:
        tensors.pop(0)
    assert pool.num_idle_bytes == 2 * NUM_BYTES
    assert pool.empty(LARGE, torch.float32).data_ptr() == newest


def test_small_request_does_not_take_a_large_block() -> None:
    pool = BufferPool()
    del_me = pool.empty(LARGE, torch.float32)
    del del_me
    pool.empty((256, 256), torch.float32)
    assert pool.num_idle_bytes >= NUM_BYTES


@pytest.mark.parametrize("num_bytes", [(1 << 17) - 4, 1 << 17])
def test_memory_below_128_kib_is_left_to_the_c_library(num_bytes: int) -> None:
    pool = BufferPool()
    tensor = pool.empty((num_bytes // 4,), torch.float32)
    del tensor
    assert pool.num_idle_bytes == (num_bytes if num_bytes == 1 << 17 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5), LARGE], ids=["small", "large"])
def test_fresh_tensor_has_the_type_and_reads_as_nan(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    found = BufferPool().empty(shape, dtype)
    assert found.dtype == dtype
    assert found.shape == shape
    assert found.isnan().all()
