"""`sentinel claims`: what was claimed, what was measured, and what follows."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from sentinel_research.baselines.store import DEFAULT_FOLDER
from sentinel_research.cli.flags import BY_DEFAULT, TOLD, Told, shown_progress
from sentinel_research.errors import UsageError

claims = App(name="claims", help="What was claimed, what was measured, and what follows: a ledger.")
_DEVICE = "amd-epyc"


@claims.command(name="list")
def list_(*, folder: Path = DEFAULT_FOLDER) -> int:
    """A line for every claim: its name, its verdict, and what was said.

    Parameters
    ----------
    folder
        Folder of baselines, with `claims` in it.
    """
    from sentinel_research.claims.ledger import listing, read_ledger

    print("\n".join(listing(read_ledger(folder))))
    return 0


@claims.command
def check(
    name: str | None = None,
    *,
    folder: Path = DEFAULT_FOLDER,
    run: Annotated[list[str] | None, Parameter(negative="")] = None,
    device: str = _DEVICE,
    write: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Judge a claim again by what is kept, or by runs of yours; 1 if its file says otherwise.

    Parameters
    ----------
    name
        The claim; all of them by default.
    folder
        Folder of baselines, with `claims`, `records` and `speed` in it.
    run
        Run folder to judge by in place of a kept record: --run agency-pruning/plain-0=runs/mine
        (repeatable). Then the verdict is shown and not compared.
    device
        Name of the speed file, without its ending.
    write
        Write what comes out into the claim's file.
    """
    from sentinel_research.claims import judge, names, read_claim, write_judgement
    from sentinel_research.claims.evidence import Evidence
    from sentinel_research.claims.judge import differences
    from sentinel_research.claims.ledger import found_in_words
    from sentinel_research.process import prepare_process

    prepare_process()
    runs = dict(_run(one) for one in run or ())
    if runs and write:
        raise UsageError(
            "--run judges by runs that are not kept, and --write would keep the verdict",
            "leave one of them out; `sentinel claims measure` keeps records",
        )
    wrong = 0
    for one in [name] if name is not None else names(folder):
        claim = read_claim(one, folder)
        found = judge(claim, Evidence(folder, device, runs))
        print(f"{one}: {found.verdict}")
        for part, judged in zip(claim.parts, found.parts, strict=True):
            print(f"  {part.says}: {found_in_words(judged)}, {judged.verdict}")
        if write:
            print(write_judgement(one, found, folder))
        elif not runs:
            changed = ["it was never judged"] if claim.judged is None else []
            changed += differences(claim.judged, found) if claim.judged is not None else []
            print("".join(f"  {line}\n" for line in changed), end="")
            wrong += bool(changed)
    if wrong:
        print("what follows now is written by --write", file=sys.stderr)
    return int(wrong > 0)


@claims.command
def report(
    *,
    folder: Path = DEFAULT_FOLDER,
    format_: Annotated[
        Literal["markdown", "json", "html"], Parameter(name="--format")
    ] = "markdown",
    output: Path | None = None,
) -> int:
    """Every claim with its verdict, its intervals and its evidence, and the questions they answer.

    Parameters
    ----------
    folder
        Folder of baselines, with `claims` in it.
    format_
        markdown, json, or html: one file that opens from disk.
    output
        File to write; stdout by default.
    """
    from sentinel_research.claims.ledger import read_ledger, render_json, render_markdown
    from sentinel_research.files import write_atomically

    ledger = read_ledger(folder)
    if format_ == "html":
        from sentinel_research.claims.page import ledger_page
        from sentinel_research.reporting.render import render_html

        text = render_html(ledger_page(ledger))
    else:
        text = render_json(ledger) if format_ == "json" else render_markdown(ledger)
    if output is None:
        print(text, end="")
    else:
        write_atomically(output, text)
        print(output)
    return 0


@claims.command
def measure(
    name: str,
    *,
    folder: Path = DEFAULT_FOLDER,
    output: Path = Path("runs/claims"),
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Carry out runs that claims are judged by, and keep their records. It resumes.

    Parameters
    ----------
    name
        Of a run in claims/measurements.yaml, or what the names of several begin with.
    folder
        Folder of baselines; records are kept below it.
    output
        Run folders go there.
    """
    from sentinel_research.claims.measure import chosen
    from sentinel_research.claims.measure import measure as carry_out
    from sentinel_research.claims.store import read_measurements
    from sentinel_research.process import prepare_process

    prepare_process()
    runs = chosen(name, read_measurements(folder))
    with shown_progress(told) as progress:
        for own, measurement in runs.items():
            print(carry_out(own, measurement, folder, output, progress), flush=True)
    return 0


def _run(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    if not equals or not name or not path:
        raise UsageError(
            f"--run {given!r} is not of the form NAME=FOLDER",
            "for example: --run agency-pruning/plain-0=runs/mine",
        )
    return name, Path(path)
