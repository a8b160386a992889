"""`sentinel compare`: judge measured models against a reference, document by document."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sentinel_research.cli.flags import PUBLISHED
from sentinel_research.errors import UsageError
from sentinel_research.specs import JudgementSpec

_DEFAULT = JudgementSpec()


def compare(
    *records: str,
    spec: Annotated[JudgementSpec, PUBLISHED] = _DEFAULT,
    format_: Annotated[
        Literal["text", "markdown", "json", "html"], Parameter(name="--format")
    ] = "text",
    output: Path | None = None,
    fail_on: Annotated[Literal["worse"] | None, Parameter(name=["--fail-on", "--fail_on"])] = None,
) -> int:
    """Compare measured models by paired tests of their samples; the first is the reference.

    Exit codes: 0 compared, 1 a verdict is worse (with --fail-on worse), 2 nothing can be compared.

    Parameters
    ----------
    records
        Run folders, or FOLDER:CELL; without CELL the only measured cell, or cells of equal names.
    format_
        text, markdown, json, or html: one file that opens from disk.
    output
        Write there instead of to stdout.
    fail_on
        Exit with 1 if a verdict is worse.
    """
    from sentinel_research.files import write_atomically
    from sentinel_research.judgement import compare as judge
    from sentinel_research.judgement.render import print_text, render

    found = judge(records, spec)
    if output is not None:
        write_atomically(output, render(found, format_))
        print(output)
    elif format_ == "text":
        print_text(found, sys.stdout)
    else:
        print(render(found, format_), end="")
    if found.is_empty:
        raise UsageError("nothing can be compared", "\n  ".join(found.reasons()))
    return int(fail_on == "worse" and "worse" in found.verdicts())
