"""Probes have one answer in the context, and their controls none that any model could find."""

import math
from collections.abc import Callable

import pytest

from sentinel_research.data.probes import NUM_CHOICES, Probe, draw, load_probe
from sentinel_research.data.provenance import provenance_of
from sentinel_research.errors import UsageError

KINDS = ["induction", "recall", "copy"]
NUM = 2000
# five standard errors of an accuracy of 1 in 4: one true chance in a million fails
TOLERANCE = 5 * math.sqrt(0.25 * 0.75 / NUM)


def _follows_the_cue(probe: Probe) -> int:
    """The choice that stands behind the last earlier place of the end of the context."""
    words = probe.context.replace(".", "").split()
    num = 3 if words[-2:] == ["has", "a"] else (1 if len(words) < 10 else 2)
    for start in range(len(words) - num - 1, -1, -1):
        if words[start : start + num] == words[-num:]:
            after = " ".join(words[start + num :])
            found = [place for place, one in enumerate(probe.choices) if after.startswith(one)]
            return found[0] if found else -1
    return -1


GUESSES: dict[str, Callable[[Probe], int]] = {
    "the first choice": lambda one: 0,
    "the longest word": lambda one: max(range(4), key=lambda place: len(one.choices[place])),
    "the latest in the context": lambda one: max(
        range(4), key=lambda place: one.context.rfind(one.choices[place].split()[0])
    ),
    "the earliest in the context": lambda one: min(
        range(4), key=lambda place: one.context.find(one.choices[place].split()[0])
    ),
    "the first in the alphabet": lambda one: one.choices.index(min(one.choices)),
}


def _accuracy(guess: Callable[[Probe], int], kind: str, *, control: bool) -> float:
    return sum(guess(one) == one.answer for one in draw(kind, NUM, 0, control=control)) / NUM


@pytest.mark.parametrize("kind", KINDS)
def test_following_the_cue_is_always_right(kind: str) -> None:
    assert _accuracy(_follows_the_cue, kind, control=False) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guess", [*GUESSES, "the cue"])
def test_every_guess_is_at_chance_on_the_control(kind: str, guess: str) -> None:
    given = GUESSES.get(guess, lambda one: max(0, _follows_the_cue(one)))
    assert abs(_accuracy(given, kind, control=True) - 1 / NUM_CHOICES) < TOLERANCE


@pytest.mark.parametrize("kind", ["induction", "recall"])
@pytest.mark.parametrize("guess", GUESSES)
def test_guesses_that_ignore_the_cue_are_at_chance(kind: str, guess: str) -> None:
    given = GUESSES[guess]
    assert abs(_accuracy(given, kind, control=False) - 1 / NUM_CHOICES) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_control_differs_in_nothing_but_what_is_asked(kind: str) -> None:
    for real, control in zip(draw(kind, 50, 3), draw(kind, 50, 3, control=True), strict=True):
        assert (real.choices, real.answer) == (control.choices, control.answer)
        assert real.context != control.context
        assert len(set(real.choices)) == NUM_CHOICES


def test_training_and_test_questions_differ_and_say_that_they_are_synthetic() -> None:
    splits = load_probe("recall")
    contexts = {name: set(rows["context"]) for name, rows in splits.items()}
    assert contexts["train"].isdisjoint(contexts["test"])
    assert provenance_of(splits["test"]).source == "synthetic"
    again = load_probe("recall")["test"]
    assert again[:] == splits["test"][:]


def test_unknown_probe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown probe 'recal'") as error:
        draw("recal", 1, 0)
    assert "recall" in str(error.value)
