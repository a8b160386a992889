"""`sentinel baseline`: judge a run by kept numbers, and keep others with a reason."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from sentinel_research.baselines.store import DEFAULT_FOLDER
from sentinel_research.cli.flags import BY_DEFAULT, TOLD, Told, shown_progress

if TYPE_CHECKING:
    from sentinel_research.baselines.judge import Judged

baseline = App(name="baseline", help="Judge a run by kept numbers, and keep others with a reason.")


@baseline.command
def check(
    record: Path,
    *,
    folder: Path = DEFAULT_FOLDER,
    suite: str | None = None,
    model: str | None = None,
    format_: Annotated[Literal["text", "json"], Parameter(name="--format")] = "text",
) -> int:
    """Compare a finished run with what is kept; 1 if anything differs.

    Parameters
    ----------
    record
        Run folder, or the record.json in it.
    folder
        Folder of all suites.
    suite
        Suite to compare with; what the run's recipe says (`baseline.suite`) by default.
    model
        Model of that suite; what the recipe says by default.
    format_
        text, or json: a list of what differs.
    """
    from sentinel_research.baselines import check_record, read_run

    judged = check_record(read_run(record, suite, model), folder)
    print(_json(judged) if format_ == "json" else judged)
    return int(bool(judged.findings))


@baseline.command
def accept(
    record: Path,
    *,
    why: str,
    folder: Path = DEFAULT_FOLDER,
    suite: str | None = None,
    model: str | None = None,
) -> int:
    """Show how a finished run differs from what is kept, and keep it instead.

    Parameters
    ----------
    record
        Run folder, or the record.json in it.
    why
        What changed, and why the new numbers are right; it is kept with them.
    folder
        Folder of all suites.
    suite
        Suite to keep it in; what the run's recipe says (`baseline.suite`) by default.
    model
        What the model is called there; what the recipe says by default.
    """
    from sentinel_research.baselines import accept_record, read_run

    judged = accept_record(read_run(record, suite, model), folder, why)
    print(judged)
    for path in judged.changed:
        print(path if path.exists() else f"{path} (deleted)")
    if not judged.changed:
        print("kept as it is: the numbers are the same", file=sys.stderr)
    return 0


@baseline.command
def measure(
    suite: str,
    *,
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    folder: Path = DEFAULT_FOLDER,
    output: Path | None = None,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Run the recipes of a suite, and compare each with what is kept; 1 if anything differs.

    Parameters
    ----------
    suite
        Its folder in the folder of all suites.
    model
        Only this model of it (repeatable).
    folder
        Folder of all suites.
    output
        Run folders go there, one for each model; runs/SUITE by default.
    """
    from sentinel_research.baselines import check_record, read_suite
    from sentinel_research.errors import BaselineError
    from sentinel_research.pipeline import DEFAULT_ROOT, run
    from sentinel_research.process import prepare_process

    prepare_process()
    found = read_suite(suite, folder)
    recipes = {name: found.recipe(name) for name in model or found.models}
    num_wrong = 0
    for name, recipe in recipes.items():
        own = (output or DEFAULT_ROOT / suite) / name
        with shown_progress(told) as progress:
            record = run(recipe, own, progress=progress)
        try:
            judged = check_record(record, folder)
        except BaselineError as error:
            print(f"{error}\n  its run: {own}")
            num_wrong += 1
            continue
        print(judged, flush=True)
        num_wrong += bool(judged.findings)
    return int(num_wrong > 0)


def _json(judged: "Judged") -> str:
    return json.dumps([one._asdict() for one in judged.findings], indent=1)
