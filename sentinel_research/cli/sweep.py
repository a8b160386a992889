"""`sentinel run` of a recipe with `sweep`: who computes it, and what is said of its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cyclopts import Group

from sentinel_research.errors import UsageError
from sentinel_research.specs import Recipe

if TYPE_CHECKING:
    from sentinel_research.progress import Progress
    from sentinel_research.sweep import Swept
    from sentinel_research.sweep.executors import Executor

SWEEPS = Group("Sweeps")
ExecutorName = Literal["local", "ray"]
_SHOWN = 20


class Chosen(NamedTuple):
    """The flags that say who computes."""

    executor: ExecutorName = "local"
    """`local` or `ray`."""
    address: str | None = None
    """Of a cluster."""
    workers: int | None = None
    """Of a cluster."""

    def check(self, recipe: Recipe) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: for a cluster without a sweep, or flags of one without it.
        """
        if self.executor == "local":
            for flag, value in (("--address", self.address), ("--workers", self.workers)):
                if value is not None:
                    raise UsageError(f"{flag} {value} belongs to a cluster", "add --executor ray")
        elif recipe.sweep is None:
            raise UsageError(
                f"the recipe '{recipe.name}' is one run with one record, and a cluster computes "
                "the cells of a sweep",
                "add `sweep: {}` to the recipe, or --set sweep={}",
            )
        elif self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers} computes nothing", "take 1 or more")

    def start(self) -> "Executor":
        """Who computes.

        Raises:
            UsageError: if ray is not installed, or its cluster does not answer.
        """
        from sentinel_research.sweep.executors import InProcess

        if self.executor == "local":
            return InProcess()
        from sentinel_research.sweep.cluster import RayCluster

        return RayCluster(self.address, self.workers)


def sweep(recipe: Recipe, output: Path | None, chosen: Chosen, progress: "Progress") -> "Swept":
    """Carry out a sweep."""
    from sentinel_research.sweep import run_sweep

    return run_sweep(recipe, output, executor=chosen.start(), progress=progress)


def ending(swept: "Swept") -> str:
    """How a sweep ended, its failures first."""
    number = f"{swept.num_done:,} of {swept.num_cells:,} cells are done"
    lines = [f"{number}, {swept.num_computed:,} were computed now"]
    for failure in swept.failures[:_SHOWN]:
        lines.append(f"! {failure.cell}: {failure.error.splitlines()[0]}")
    if len(swept.failures) > _SHOWN:
        lines.append(f"! and {len(swept.failures) - _SHOWN:,} more, see the reports")
    if swept.failures:
        lines.append("the same command begins them again")
    lines += [f"! check failed: {check}" for check in swept.failed_checks]
    return "\n".join([*lines, *(f"report: {folder / 'report.html'}" for folder in swept.models)])
