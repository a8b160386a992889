"""From a request to a session: load, measure unit by unit what no earlier start has measured."""

from collections.abc import Callable

from sentinel_research.explorer.effects import Effects
from sentinel_research.explorer.limits import check_time
from sentinel_research.explorer.probe import Readings, begin, effects_of, read, seconds_of_a_pass
from sentinel_research.explorer.scorebook import ORACLE, Scorebook
from sentinel_research.explorer.session import Session
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.explorer.subject import Subject, load_subject
from sentinel_research.models.fingerprint import model_fingerprint
from sentinel_research.progress import Progress
from sentinel_research.pruning.score import fingerprint_of
from sentinel_research.specs import PruneSpec
from sentinel_research.specs.explore import ExploreSpec


def open_session(
    spec: ExploreSpec,
    progress: Progress,
    shelf: Shelf,
    changed: Callable[[], object] = lambda: None,
) -> Session:
    """Load a model and measure what its page needs.

    Args:
        spec: The request.
        progress: Who is told about the measuring.
        shelf: Where it is kept for the next start.
        changed: See `Session`.

    Raises:
        UsageError: see `load_subject`; or the measuring would take longer than asked for.
        CheckpointError, DataError: see `load_subject`.
    """
    subject = load_subject(spec)
    size = subject.calibration_spec.batch_size
    seconds = seconds_of_a_pass(subject.model, subject.calibration, size)
    effects = measured_effects(spec, subject, seconds, progress, shelf)
    book = Scorebook(subject, effects, shelf, seconds, spec.patience)
    return Session(subject, effects, book, changed)


def measured_effects(
    spec: ExploreSpec, subject: Subject, seconds: float, progress: Progress, shelf: Shelf
) -> Effects:
    """What was kept of an earlier start, completed.

    Args:
        spec: For how it is measured, and how long that may take.
        subject: The model and its text.
        seconds: Of one pass over the text.
        progress: Who is told.
        shelf: Where it is kept, also half done.

    Raises:
        UsageError: if it would take longer than asked for.
    """
    one_by_one = spec.estimates == ORACLE
    asked = PruneSpec(scorer=ORACLE, fraction=0, calibration=subject.calibration_spec)
    path = shelf.path(
        estimates=spec.estimates,
        model=model_fingerprint(subject.model),
        text=fingerprint_of(asked, subject.calibration),
    )
    empty = begin(subject.model, subject.calibration, one_by_one=one_by_one)
    readings: Readings = shelf.find(path) or empty
    missing = int(sum(map(bool, _has_gaps(readings))))
    check_time(seconds, missing, len(subject.calibration), spec.patience)
    read(
        subject.model,
        subject.calibration,
        readings,
        batch_size=subject.calibration_spec.batch_size,
        progress=progress,
        kept=lambda arrays: shelf.keep(path, arrays),
    )
    return effects_of(subject.structure, readings)


def _has_gaps(readings: Readings) -> list[bool]:
    """Of every row, whether it was not read yet."""
    return [bool((row != row).any()) for row in readings["losses"]]
