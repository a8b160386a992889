"""The commands of `sentinel`. Heavy imports live inside the commands: `--help` needs no torch."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

import sentinel_research
from sentinel_research.cli.bench import bench

app = App(
    name="sentinel",
    help=(
        "Prune or change a language model, measure it with lm-eval, and say what was measured. "
        "Add --debug to any command for tracebacks."
    ),
    version=sentinel_research.__version__,
    # Ctrl-C is answered in one place, `main`
    suppress_keyboard_interrupt=False,
)
app.command(bench)
Kind = Literal["recipes", "scorers", "tasks", "corpora", "architectures", "recoveries"]


@app.command
def run(
    recipe: str,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    output: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a recipe from model to report. The same command resumes an interrupted run.

    Parameters
    ----------
    recipe
        Name of a shipped recipe (`sentinel ls recipes`) or path of a YAML file.
    set_
        Override a recipe key: --set prune.fractions=[0,0.5] (repeatable; values are YAML).
    output
        Run folder; runs/NAME-FINGERPRINT by default.
    dry_run
        Show the resolved recipe, what would be removed and which tasks were found; run nothing.
    quiet
        No progress on stderr.
    """
    from sentinel_research.cli.run import run_recipe

    return run_recipe(recipe, set_ or [], output=output, dry_run=dry_run, quiet=quiet)


@app.command
def ls(kind: Kind) -> int:
    """List what can be named in a recipe, one line each.

    Parameters
    ----------
    kind
        What to list.
    """
    from sentinel_research.cli.listing import listing

    print("\n".join(listing(kind)))
    return 0


@app.command
def report(folder: Path) -> int:
    """Write report.html and report.md of a run folder again.

    Parameters
    ----------
    folder
        A folder written by `sentinel run`.
    """
    from sentinel_research.reporting import report as write_report

    print(write_report(folder).html)
    return 0


@app.command(name="lm-eval")
def lm_eval(*arguments: str) -> int:
    """Run lm-eval's own command line with the project's task folder included.

    Parameters
    ----------
    arguments
        Passed on as they are, for example: run --model sentinel --model_args pretrained=DIR
        --tasks sentinel_wikitext2
    """
    from sentinel_research.cli.lm_eval import pass_through

    return pass_through(list(arguments))
