"""Progress: lines with the time that is left, of a training and of the run around it."""

import io

import pytest
from rich.console import Console
from tqdm import tqdm

from sentinel_research import progress
from sentinel_research.progress import Pace, Plain, piece, plain, printable
from sentinel_research.progress.marks import shows_signs


def test_plain_progress_estimates_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(plain.time, "monotonic", lambda: next(clock))
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
    monkeypatch.setattr(plain.time, "monotonic", lambda: 0.0)
    stream = io.StringIO()
    shown = progress.Plain(stream)
    shown.start("one", 1)
    shown.advance("done")
    assert stream.getvalue().splitlines()[-1] == "one: 1/1, 0 s, 0 s left, done"


def _at(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    clock = iter(times)
    monkeypatch.setattr(plain.time, "monotonic", lambda: next(clock))


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
    assert lines == [("models", 0, 20), ("  recovery", 11, 40)]


def test_long_times_are_shown_in_minutes_and_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 0.0, 600.0)
    stream = io.StringIO()
    shown = Plain(stream)
    shown.start("steps", 100)
    shown.advance()
    assert stream.getvalue().splitlines()[-1] == "steps: 1/100, 10 min, 16.5 h left"


def test_stages_of_a_cell_take_as_long_as_in_the_cells_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _at(monkeypatch, *map(float, (0, 0, 1, 11, 11, 11, 17, 17)))
    stream = io.StringIO()
    shown = Plain(stream)
    with piece(shown, "cells", 3):
        with piece(shown, "a", 2, kinds=["prune", "evaluate"]):
            shown.advance()
            shown.advance()
        shown.advance()
        with piece(shown, "b", 2, kinds=["prune", "evaluate"]):
            # 10 s of evaluation are left, as in the cell before
            shown.advance("pruned")
    assert "b: 1/2, 6 s, 10 s left, pruned [cells 1/3, " in stream.getvalue()


def test_units_of_one_advance_count_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 0.0, 6.0)
    stream = io.StringIO()
    shown = Plain(stream)
    shown.start("tokens scored", 100)
    shown.advance(by=60)
    assert stream.getvalue().splitlines()[-1] == "tokens scored: 60/100, 6 s, 4 s left"


@pytest.mark.parametrize(
    ("is_terminal", "encoding", "name", "expected"),
    [
        (True, "utf-8", "xterm-256color", True),
        (True, "utf-8", "dumb", False),
        (True, "utf-8", "", False),
        (True, "latin-1", "xterm", False),
        (True, None, "xterm", False),
        (False, "utf-8", "xterm", False),
    ],
    ids=["terminal", "dumb", "unnamed", "latin", "no encoding", "file"],
)
def test_emoji_are_for_terminals_that_show_them(
    is_terminal: bool, encoding: str | None, name: str, expected: bool
) -> None:
    assert shows_signs(is_terminal=is_terminal, encoding=encoding, name=name) == expected


def test_marks_are_signs_in_a_terminal_and_words_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    Plain(stream).say("dense: perplexity 5", "done")
    assert stream.getvalue() == "done: dense: perplexity 5\n"
    monkeypatch.setenv("TERM", "xterm")
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with progress.Live(Console(file=file, width=80, force_terminal=True)) as shown:
        shown.say("dense: perplexity 5", "done")
        shown.say("half: it diverged", "failed")
    file.flush()
    text = file.buffer.getvalue().decode()
    assert "\N{WHITE HEAVY CHECK MARK} dense: perplexity 5" in text
    assert "\N{CROSS MARK} half: it diverged" in text


def test_details_are_for_who_asked_and_say_where_they_belong() -> None:
    streams = io.StringIO(), io.StringIO()
    for stream, verbose in zip(streams, (False, True), strict=True):
        shown = Plain(stream, verbose=verbose)
        with piece(shown, "models", 1), piece(shown, "half", 1), piece(shown, "recovery", 2):
            shown.detail("step 1: loss 3")
    assert "loss 3" not in streams[0].getvalue()
    assert streams[1].getvalue().splitlines()[-1] == "  half, recovery, step 1: loss 3"


def test_silence_is_broken_for_warnings_alone() -> None:
    stream = io.StringIO()
    shown = progress.Silent(stream)
    shown.say("dense: perplexity 5", "done")
    shown.say("a tracker failed", "warning")
    assert stream.getvalue() == "warning: a tracker failed\n"


def test_bars_of_others_stay_off_while_live_lines_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = vars(tqdm)["__init__"]
    # rich takes what goes to stderr meanwhile
    stream = io.StringIO()
    with progress.Live(Console(file=stream, force_terminal=True)):
        assert list(tqdm(range(3), desc="lm-eval", disable=False)) == [0, 1, 2]
    assert "lm-eval" not in capsys.readouterr().err + stream.getvalue()
    assert vars(tqdm)["__init__"] is before
    list(tqdm(range(3), desc="lm-eval", disable=False))
    assert "lm-eval" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb", r"a\r\nb"),
        ("\x9b31m", r"\x9b31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x", r"\u202ex"),
        ("\ud800", r"\ud800"),
        ("plain ä \N{SNOWMAN}", "plain ä \N{SNOWMAN}"),
    ],
    ids=["escape", "lines", "c1", "direction", "surrogate", "text"],
)
def test_written_text_cannot_move_a_terminal(text: str, expected: str) -> None:
    assert printable(text) == expected
