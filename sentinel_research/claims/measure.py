"""Carry out the runs that claims are judged by, and keep their records."""

from collections.abc import Mapping
from pathlib import Path

from sentinel_research.claims.evidence import keep
from sentinel_research.claims.statistic import Measurement
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.pipeline import run
from sentinel_research.progress import Progress
from sentinel_research.recipe import load_recipe

_RUNS = "RUNS"


def chosen(name: str, known: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """The runs of a name: that one, or all whose names begin with it and a slash.

    Raises:
        UsageError: if there is none.
    """
    found = {own: one for own, one in known.items() if own == name or own.startswith(f"{name}/")}
    if not found:
        groups = {own.partition("/")[0] for own in known}
        raise UsageError(f"no run '{name}' in measurements.yaml", did_you_mean(name, groups))
    return found


def measure(
    name: str, measurement: Measurement, folder: Path, runs: Path, progress: Progress
) -> Path:
    """Carry out a run, or go on with it, and keep its record.

    Args:
        name: Of the run.
        measurement: Its recipe and overrides.
        folder: Of all baselines; the record is kept below it.
        runs: Where run folders go.
        progress: Who is told about progress.

    Returns:
        The file that was written.

    Raises:
        UsageError: for a section of `sentinel bench`, or a wrong override.
        CheckFailedError: if a check of the run failed; nothing is kept then.
    """
    if measurement.recipe is None:
        raise UsageError(
            f"'{name}' is measured by `sentinel bench {measurement.bench}`",
            f"type: sentinel bench {measurement.bench} --output {folder}/speed/DEVICE.json",
        )
    asked = [one.replace(_RUNS, str(runs)) for one in measurement.set]
    recipe = load_recipe(measurement.recipe, asked).recipe
    own = runs / name
    return keep(folder, name, run(recipe, own, progress=progress), own)
