"""What differs between kept baselines and a measurement, and why.

Causes come first: where another model, other documents or other questions were measured, metrics
are not judged. "The metric moved" is said only where all that was asked is the same.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from sentinel_research.baselines.schema import Baseline, KeptMetric, MeasuredTask
from sentinel_research.specs.baseline import Exact, Relative

Kind = Literal[
    "the device differs",
    "the model changed",
    "the data changed",
    "the task changed",
    "the metric moved",
    "missing",
    "extra",
]
_SHOWN = 12


class Finding(NamedTuple):
    """One difference."""

    kind: Kind
    """What kind of difference."""
    where: str
    """`model@variant`, with the task or metric behind it."""
    detail: str
    """Both values."""

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.detail}"


def check(kept: Iterable[Baseline], measured: Iterable[Baseline]) -> list[Finding]:
    """Every difference between what is kept of a suite's model and what was measured of it.

    Args:
        kept: All that is kept of one model.
        measured: All that a run measured of it.

    Returns:
        No finding where the measurement is within every tolerance; a variant or a metric that only
        one side has is a finding either way.
    """
    before = {one.variant: one for one in kept}
    after = {one.variant: one for one in measured}
    found = []
    for variant in dict.fromkeys([*before, *after]):
        if variant not in after:
            found.append(Finding("missing", before[variant].name, "it was not measured"))
        elif variant not in before:
            found.append(Finding("extra", after[variant].name, "there is no baseline of it"))
        else:
            found.extend(_differences(before[variant], after[variant]))
    return found


def _differences(kept: Baseline, measured: Baseline) -> Iterator[Finding]:
    causes = [*_device(kept, measured), *_model(kept, measured)]
    yield from causes
    changed = set()
    for task in dict.fromkeys([*kept.tasks, *measured.tasks]):
        found = list(_task(f"{kept.name} {task}", kept.tasks.get(task), measured.tasks.get(task)))
        changed |= {task} if found else set()
        yield from found
    versions = _newer(kept, measured)
    for key in dict.fromkeys([*kept.metrics, *measured.metrics]):
        where = f"{kept.name} {key}"
        if key not in measured.metrics:
            yield Finding("missing", where, f"{kept.metrics[key].value} is kept, and now none")
        elif key not in kept.metrics:
            yield Finding("extra", where, f"{measured.metrics[key].value}, and none is kept")
        elif not causes and _is_same(key.partition("/")[0], kept, changed):
            yield from _metric(where, kept.metrics[key], measured.metrics[key], versions)


def _is_same(name: str, kept: Baseline, changed: set[str]) -> bool:
    """Whether a task, or all tasks where it is a group's name, were asked as they were."""
    return name not in changed if name in kept.tasks else not changed


def _device(kept: Baseline, measured: Baseline) -> Iterator[Finding]:
    if kept.device != measured.device:
        yield Finding(
            "the device differs",
            kept.name,
            f"kept is what {kept.device} gives, and this is {measured.device}",
        )


def _model(kept: Baseline, measured: Baseline) -> Iterator[Finding]:
    old, new = kept.identity, measured.identity
    for part in dict.fromkeys([*old.source, *new.source]):
        yield from _changed(kept.name, part, old.source.get(part), new.source.get(part))
    yield from _changed(kept.name, "type of the weights", old.dtype, new.dtype)
    yield from _changed(kept.name, "plan", old.plan, new.plan)
    yield from _changed(kept.name, "what was done to it", old.changes, new.changes)


def _changed(where: str, part: str, old: str | None, new: str | None) -> Iterator[Finding]:
    if old != new:
        words = [one[:_SHOWN] if one is not None else "none" for one in (old, new)]
        yield Finding("the model changed", where, f"{part}: {words[0]}, now {words[1]}")


def _task(where: str, old: MeasuredTask | None, new: MeasuredTask | None) -> Iterator[Finding]:
    if new is None:
        yield Finding("missing", where, "it was not measured")
        return
    if old is None:
        yield Finding("extra", where, "no baseline was measured on it")
        return
    names = dict.fromkeys([*old.settings, *new.settings])
    others = [name for name in names if old.settings.get(name) != new.settings.get(name)]
    for name in others:
        detail = f"{name} {old.settings.get(name)}, now {new.settings.get(name)}"
        yield Finding("the task changed", where, detail)
    if old.documents != new.documents and "limit" not in others:
        detail = f"{old.num_documents} documents {old.documents}, now {_documents(new)}"
        yield Finding("the data changed", where, detail)
    elif old.prompts != new.prompts and not others:
        detail = f"prompts or targets {old.prompts}, now {new.prompts}, of the same documents"
        yield Finding("the task changed", where, detail)


def _documents(task: MeasuredTask) -> str:
    return f"{task.num_documents} documents {task.documents}"


def _metric(where: str, kept: KeptMetric, measured: KeptMetric, versions: str) -> Iterator[Finding]:
    difference = measured.value - kept.value
    if abs(difference) <= allowed(kept, measured):
        return
    share = f" ({difference / abs(kept.value):+.3g} of it)" if kept.value else ""
    direction = ""
    if kept.higher_is_better is not None:
        direction = ", better" if (difference > 0) == kept.higher_is_better else ", worse"
    detail = (
        f"{kept.value}, now {measured.value}{share}{direction}; beyond {kept.tolerance}{versions}"
    )
    yield Finding("the metric moved", where, detail)


def allowed(kept: KeptMetric, measured: KeptMetric) -> float:
    """The largest difference that a metric's tolerance lets pass, in the metric's unit.

    Args:
        kept: With the tolerance.
        measured: With the standard error of the new value, for a statistical tolerance.
    """
    if isinstance(kept.tolerance, Exact):
        return 0.0
    if isinstance(kept.tolerance, Relative):
        return kept.tolerance.fraction * abs(kept.value)
    from scipy import stats

    errors = [one.stderr for one in (kept, measured)]
    assert None not in errors  # checked when the tolerance was given
    error = sum(float(one or 0.0) ** 2 for one in errors) ** 0.5
    return float(stats.norm.isf(kept.tolerance.level / 2)) * error


def _newer(kept: Baseline, measured: Baseline) -> str:
    """Packages of other versions than then, to look at first."""
    names = sorted(kept.versions.keys() | measured.versions.keys())
    found = [
        f"{name} {kept.versions.get(name, 'absent')}, now {measured.versions.get(name, 'absent')}"
        for name in names
        if kept.versions.get(name) != measured.versions.get(name)
    ]
    return f" ({'; '.join(found)})" if found else ""
