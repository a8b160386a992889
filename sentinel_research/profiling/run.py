"""Carry out a profile part by part; each joins the file as soon as it is measured."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError
from transformers import PreTrainedModel

from sentinel_research.bench.attention import attention_section
from sentinel_research.bench.levels import variants
from sentinel_research.cost import CostReport, costs
from sentinel_research.cost.measure import REFERENCE
from sentinel_research.cost.phases import PHASES
from sentinel_research.errors import UsageError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.profiling.levels import WORDS, at_level, check_equal
from sentinel_research.profiling.recommend import Candidate, recommendations
from sentinel_research.profiling.schema import LevelsPart, Loss, Profiled, ProfileReport
from sentinel_research.profiling.subject import Loaded, Subject, load_subject
from sentinel_research.profiling.target import find_target
from sentinel_research.progress import Progress, Silent, piece
from sentinel_research.specs.profile import Combination, ProfileSpec
from sentinel_research.timing import Median, ratio_of

JSON, MARKDOWN = "profile.json", "profile.md"
INTEGRATION_LEVELS = (0, 50)
"""Percent of the heads of every layer."""
PARTS = ("prunings", "levels", "integration", "attention", "target")


def profile(
    spec: ProfileSpec,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
) -> ProfileReport:
    """Measure what was asked.

    Args:
        spec: The profile.
        folder: Where `profile.json` is kept; parts that are there already are not measured again.
        progress: Who is told, see `costs`.

    Returns:
        All parts.

    Raises:
        UsageError: if the folder holds another profile, or for what cannot be measured.
        CheckFailedError: if optimisation levels do not compute the same.
    """
    report = ProfileReport(spec=spec) if folder is None else _begun(spec, create_folder(folder))
    asked = tuple(_asked(spec))
    missing = [name for name in asked if getattr(report, name) is None]
    if not missing:
        return report
    progress = progress or Silent()
    loaded = load_subject(spec)
    title = f"profile of {spec.model}"
    with piece(progress, title, len(asked), done=len(asked) - len(missing), kinds=missing):
        for name in missing:
            part = _MEASURE[name](spec, loaded, folder, progress)
            report = report.model_copy(update={name: part})
            report = report.model_copy(update={"recommendations": tuple(recommended(report))})
            if folder is not None:
                write_atomically(folder / JSON, report.model_dump_json(indent=1) + "\n")
            progress.advance(name)
    return report


def _asked(spec: ProfileSpec) -> Iterator[str]:
    # the dense model by itself where nothing else is asked for
    if spec.combinations or not (spec.integration or spec.attention or spec.target):
        yield "prunings"
    wanted = {
        "levels": spec.levels,
        "integration": spec.integration,
        "attention": spec.attention,
        "target": spec.target,
    }
    yield from (name for name, value in wanted.items() if value)


def _begun(spec: ProfileSpec, folder: Path) -> ProfileReport:
    path = folder / JSON
    if not path.exists():
        return ProfileReport(spec=spec)
    hint = "choose another --output"
    try:
        found = ProfileReport.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is no profile: {str(error).splitlines()[0]}", hint) from error
    if found.spec != spec:
        raise UsageError(f"{path} is of another request", hint)
    return found


def _prunings(
    spec: ProfileSpec, loaded: Loaded, _folder: Path | None, progress: Progress
) -> tuple[Profiled, ...]:
    subject = Subject(spec, loaded)
    models = {one.name: subject.build(one) for one in spec.combinations}
    reports = costs(models, spec.cost, dense=loaded.model, progress=progress)
    everything = {REFERENCE: loaded.model, **models}
    return tuple(
        Profiled(cost=report, quality=_loss(subject, everything[name]))
        for name, report in reports.items()
    )


def _loss(subject: Subject, model: PreTrainedModel) -> Loss | None:
    if not subject.has_text:
        return None
    found = subject.quality(model)
    return Loss(
        measure=found.measure,
        nats=found.nats,
        loss=found.loss.value,
        low=found.loss.low,
        high=found.loss.high,
    )


def _levels(
    spec: ProfileSpec, loaded: Loaded, _folder: Path | None, progress: Progress
) -> tuple[LevelsPart, ...]:
    subject, found = Subject(spec, loaded), []
    with piece(progress, "levels", len(spec.combinations)):
        for one in spec.combinations:
            found.append(_levels_of(spec, subject, one, progress))
            progress.advance(one.name)
    return tuple(found)


def _levels_of(
    spec: ProfileSpec, subject: Subject, combination: Combination, progress: Progress
) -> LevelsPart:
    """All levels of one pruning, checked before they are timed."""
    plan = subject.plan(combination)
    # level 0 is what others are judged by, asked for or not
    asked = sorted({0, *spec.levels})
    models = {f"level {level}": at_level(subject.model, plan, level) for level in asked}
    words = [WORDS[level] for level in asked]
    differences = check_equal(list(models.values()), words)
    quick = spec.cost.model_copy(update={"fresh_process": False, "modules": False})
    reports = costs(models, quick, dense=subject.model, progress=progress)
    return LevelsPart(
        combination=combination,
        largest_difference={
            str(level): value for level, value in zip(asked[1:], differences, strict=True)
        },
        rows=tuple(Profiled(cost=report) for report in reports.values()),
        between={
            phase: {name: _against(reports[name], reports["level 0"], phase) for name in models}
            for phase in PHASES
        },
    )


def _against(report: CostReport, other: CostReport, phase: str) -> Median:
    """Times as fast as another model of the same rounds."""
    times = []
    for one in (other, report):
        against = one.phase(phase).against
        assert against is not None  # both were timed beside the dense model
        pairs = against.cpu_seconds if report.clock == "cpu" else against.wall_seconds
        times.append([measured for measured, _ in pairs])
    return ratio_of(list(zip(*times, strict=True)))


def _integration(
    spec: ProfileSpec, loaded: Loaded, _folder: Path | None, progress: Progress
) -> tuple[Profiled, ...]:
    found = variants(loaded.model, loaded.model, INTEGRATION_LEVELS)
    models = {name: one.model for name, one in found.items()}
    quick = spec.cost.model_copy(update={"fresh_process": False, "modules": False})
    reports = costs(models, quick, dense=loaded.model, progress=progress)
    return tuple(Profiled(cost=report) for report in reports.values())


def _attention(
    spec: ProfileSpec, loaded: Loaded, _folder: Path | None, progress: Progress
) -> object:
    return attention_section(loaded.model, spec.cost.num_repetitions, progress)


def _target(spec: ProfileSpec, loaded: Loaded, folder: Path | None, progress: Progress) -> object:
    assert spec.target is not None  # it was asked for
    subject = Subject(spec, loaded)
    return find_target(subject, spec.target, spec.cost, folder, loaded.tokenizer, progress)


_MEASURE: dict[str, Callable[[ProfileSpec, Loaded, Path | None, Progress], object]] = {
    "prunings": _prunings,
    "levels": _levels,
    "integration": _integration,
    "attention": _attention,
    "target": _target,
}


def recommended(report: ProfileReport) -> list[str]:
    """What the parts allow to be said."""
    candidates: list[Candidate] = []
    for row in (*(report.prunings or ()), *(report.integration or ())):
        candidates += _of_row(row)
    for part in report.levels or ():
        candidates += [
            Candidate(f"{name} of {part.combination.name}", "level 0", phase, speed_up)
            for phase, levels in part.between.items()
            for name, speed_up in levels.items()
            if name != "level 0"
        ]
    return recommendations(candidates)


def _of_row(row: Profiled) -> list[Candidate]:
    found = []
    for one in row.cost.phases:
        speed_up = one.speed_up(row.cost.clock)
        if speed_up is not None:
            phase = f"{one.phase}, batch {one.batch_size}"
            cost = "" if row.quality is None else f"it loses {in_words(row.quality)}"
            found.append(Candidate(row.cost.name, REFERENCE, phase, speed_up, cost))
    return found


def in_words(loss: Loss) -> str:
    """`0.12 [0.10, 0.14] nats per token`."""
    return f"{loss.loss:.3g} [{loss.low:.3g}, {loss.high:.3g}] nats per token"
