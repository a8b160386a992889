"""Progress without a terminal: plain lines with the time that is left."""

import io

import pytest

from sentinel_research import progress


def test_plain_progress_estimates_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    shown = progress.Plain(stream)
    shown.start("cells", 4)
    shown.advance()
    shown.advance()
    shown.advance("three")
    assert stream.getvalue().splitlines() == [
        "cells (4 steps)",
        "cells: 1/4, 6 s, 18 s left",
        "cells: 3/4, 12 s, 4 s left, three",
    ]


def test_plain_progress_always_shows_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    stream = io.StringIO()
    shown = progress.Plain(stream)
    shown.start("one", 1)
    shown.advance("done")
    assert stream.getvalue().splitlines()[-1] == "one: 1/1, 0 s, 0 s left, done"
