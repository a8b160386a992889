"""Progress: lines with the time that is left, of a training and of the run around it."""

import io

import pytest
from rich.console import Console

from sentinel_research import progress
from sentinel_research.progress import Pace, Plain, piece


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


def _at(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    clock = iter(times)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))


def test_training_inside_a_run_leaves_the_count_of_models_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _at(monkeypatch, 0.0, 0.0, 10.0, 20.0, 20.0)
    stream = io.StringIO()
    shown = Plain(stream)
    with piece(shown, "models", 3):
        with piece(shown, "first", 2):
            shown.advance("loss 3")
            shown.advance("loss 2")
        shown.advance("done")
    # half of the first of three models in 10 s: 10 s of it are left, and 20 s for each other
    assert stream.getvalue().splitlines() == [
        "models (3 steps)",
        "first (2 steps)",
        "first: 1/2, 10 s, 10 s left, loss 3 [models 0/3, 50 s left]",
        "first: 2/2, 20 s, 0 s left, loss 2 [models 0/3, 40 s left]",
        "models: 1/3, 20 s, 40 s left, done",
    ]


def test_piece_that_fails_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 0.0, 0.0, 6.0)
    stream = io.StringIO()
    shown = Plain(stream)
    with piece(shown, "models", 2):
        with pytest.raises(ZeroDivisionError), piece(shown, "training", 5):
            raise ZeroDivisionError
        shown.advance()
    assert stream.getvalue().splitlines()[-1] == "models: 1/2, 6 s, 6 s left"


def test_units_of_a_kind_take_as_long_as_those_that_were_measured() -> None:
    kinds = ["plain", "plain", "recovered", "recovered", "recovered"]
    pace = Pace("models", 5, 0, kinds, 0.0)
    assert pace.seconds_left(0.0) is None
    pace.advance(2.0)
    pace.advance(4.0)
    # no recovery yet: as long as the others, until one says how far it is
    assert pace.seconds_left(4.0) == 6.0
    assert pace.seconds_left(14.0, inner=90.0) == 90.0 + 2 * 100.0
    pace.advance(104.0)
    assert pace.seconds_left(104.0) == 200.0
    assert pace.seconds_left(134.0) == 170.0


def test_what_an_interrupted_run_did_counts_and_takes_no_time() -> None:
    pace = Pace("models", 10, 8, ["a", "a"], 0.0)
    pace.advance(3.0)
    assert (pace.done, pace.total) == (9, 10)
    assert pace.seconds_left(3.0) == 3.0


def test_live_progress_has_a_line_for_the_run_and_one_for_the_training() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True)
    with progress.Live(console) as shown, piece(shown, "models", 20):
        with piece(shown, "recovery", 40, done=10):
            shown.advance("loss 3.2")
            lines = [(task.description, task.completed, task.total) for task in shown.tasks]
        assert [task.description for task in shown.tasks] == ["models"]
    assert lines == [("models", 0, 20), ("recovery", 11, 40)]


def test_long_times_are_shown_in_minutes_and_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 0.0, 600.0)
    stream = io.StringIO()
    shown = Plain(stream)
    shown.start("steps", 100)
    shown.advance()
    assert stream.getvalue().splitlines()[-1] == "steps: 1/100, 10 min, 16.5 h left"
