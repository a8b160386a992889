"""`sentinel bench`: measure speed as ratios to named alternatives, and keep them in a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from sentinel_research.bench.schema import Section

bench = App(name="bench", help="Measure speed, each as a ratio to something measured beside it.")
SectionName = Literal["calibration", "pruning", "forward", "peers"]
_DEFAULT: tuple[SectionName, ...] = ("calibration", "pruning", "forward")


@bench.command
def pruning(
    *,
    output: Path | None = None,
    section: Annotated[list[SectionName] | None, Parameter(negative="")] = None,
    peers: Annotated[bool, Parameter(negative="")] = False,
    size: Literal["tiny", "124m"] = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time calibration, every step of a pruning, and forward passes of what it leaves.

    The result is JSON; what is shown on stderr is the same for people. At size tiny the command
    takes seconds and its numbers mean nothing.

    Parameters
    ----------
    output
        File that every section joins when it is done, such as
        regression_baselines/speed/DEVICE.json; sections that are not measured now stay in it.
        Without it the JSON goes to stdout.
    section
        Measure only this section (repeatable).
    peers
        Compare with Torch-Pruning too: pip install sentinel-research[peers].
    size
        124m: the shape of GPT-2 small; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which a thing and its alternative are timed; 7 by default, 3 at size tiny.
    """
    from sentinel_research.cli.run import prepare_process

    prepare_process()
    from sentinel_research.bench.files import to_json
    from sentinel_research.bench.run import bench as measure
    from sentinel_research.bench.schema import SECTIONS

    chosen: set[SectionName] = {*(section or _DEFAULT), *(("peers",) if peers else ())}
    found = measure(
        list(chosen), size=size, device=device, num_pairs=pairs, output=output, told=_show
    )
    print(to_json(found) if output is None else output)
    measured = [one for name in SECTIONS if name in chosen and (one := found.section(name))]
    return int(not all(check.passed for one in measured for check in one.checks))


def _show(name: SectionName, section: "Section | None") -> None:
    from sentinel_research.bench.show import lines_of

    if section is None:
        print(f"{name} ...", file=sys.stderr, flush=True)
        return
    for line in lines_of(section):
        print(f"  {line}", file=sys.stderr, flush=True)
