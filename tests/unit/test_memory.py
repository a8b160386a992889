"""Peak memory is measured: what was freed before the end counts, what was before the start not."""

import torch

from sentinel_research.memory import PeakMemory

MEGABYTE = 1 << 20


def test_peak_covers_what_was_freed_and_begins_anew_each_time() -> None:
    with PeakMemory("cpu") as large:
        block = torch.ones(64 * MEGABYTE // 4)
        del block
    with PeakMemory("cpu") as small:
        torch.ones(8)
    if large.absent:
        assert large.peak_bytes is None
        return
    assert large.before_bytes is not None
    assert large.peak_bytes is not None
    assert small.before_bytes is not None
    assert small.peak_bytes is not None
    assert large.kind == "resident set"
    # pages of other threads come and go: a few megabytes either way
    assert 60 < (large.peak_bytes - large.before_bytes) / MEGABYTE < 80
    assert (small.peak_bytes - small.before_bytes) / MEGABYTE < 8
