"""`sentinel bench`: measure speed as ratios to named alternatives, and keep them in a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from sentinel_research.bench.schema import SectionName as AnySection
    from sentinel_research.bench.schema_base import Section

bench = App(name="bench", help="Measure speed, each as a ratio to something measured beside it.")
PruningPart = Literal["calibration", "pruning", "forward", "peers"]
Size = Literal["tiny", "124m"]
_DEFAULT: tuple[PruningPart, ...] = ("calibration", "pruning", "forward")


@bench.command
def pruning(
    *,
    output: Path | None = None,
    section: Annotated[list[PruningPart] | None, Parameter(negative="")] = None,
    peers: Annotated[bool, Parameter(negative="")] = False,
    size: Size = "124m",
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
    chosen: set[PruningPart] = {*(section or _DEFAULT), *(("peers",) if peers else ())}
    return _measure(list(chosen), size=size, device=device, pairs=pairs, output=output)


@bench.command
def adapter(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time scoring and writing for lm-eval beside its own adapter, on the same random weights.

    Four choices behind each question with and without examples, long and short texts, and short
    answers, at 3.4, 16 and 124 million parameters. What no way of scoring can do without is given
    beside, and the memory of a fresh process. At size tiny the command takes seconds and its
    numbers mean nothing.

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: all three models, half an hour on one thread; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which both are timed; 7 by default, 3 at size tiny.
    """
    return _measure(["adapter"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def agency(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int = 41,
) -> int:
    """Time attention with head gates beside the same attention without, at 64 to 512 tokens.

    The result is JSON; what is shown on stderr is the same for people. At size tiny the command
    takes seconds and its numbers mean nothing.

    Parameters
    ----------
    output
        File that the section joins, such as regression_baselines/speed/DEVICE.json; its other
        sections stay in it. Without it the JSON goes to stdout.
    size
        124m: a layer of GPT-2 small; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which all are timed; a round takes milliseconds, so there are many.
    """
    return _measure(["agency"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def attention(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int = 41,
) -> int:
    """Time gated attention beside plain SDPA and beside a loop over heads, at 32 to 512 tokens.

    Once with all heads and once with half of them removed, in what is measured and in what it is
    compared with. At size tiny the command takes seconds and its numbers mean nothing.

    Parameters
    ----------
    output
        File that the section joins, such as regression_baselines/speed/DEVICE.json; its other
        sections stay in it. Without it the JSON goes to stdout.
    size
        124m: a layer of GPT-2 small; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which all are timed; a round takes milliseconds, so there are many.
    """
    return _measure(["attention"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def levels(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int = 11,
) -> int:
    """Time whole models with 0 to 70 percent of their heads removed beside the plain dense one.

    GPT-2 by itself, with gates, and with gates and U-Net connections, a frozen baseline, or both;
    reading 256 tokens up to the first logit, and decoding. At size tiny the command takes seconds
    and its numbers mean nothing.

    Parameters
    ----------
    output
        File that the section joins, such as regression_baselines/speed/DEVICE.json; its other
        sections stay in it. Without it the JSON goes to stdout.
    size
        124m: models of 16 and 124 million parameters, ten minutes on one thread; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which all models of a size are timed; those of 16 million parameters have twice as
        many less one.
    """
    return _measure(["levels"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def cost(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time models with heads, neurons and layers removed, and in 8 bits, beside the dense one.

    Reading 256 tokens up to the first logit, and decoding; beside each ratio stands what arithmetic
    allows. At size tiny the command takes seconds and its numbers mean nothing.

    Parameters
    ----------
    output
        File that the section joins, such as regression_baselines/speed/DEVICE.json; its other
        sections stay in it. Without it the JSON goes to stdout.
    size
        124m: the shape of GPT-2 small, some minutes; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which all are timed; 7 by default, 3 at size tiny.
    """
    return _measure(["cost"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def mamba(
    *,
    output: Path | None = None,
    size: Size = "124m",
    pairs: int | None = None,
) -> int:
    """Time Mamba on the compiled scan beside transformers' own ways to run it on a CPU.

    Forward passes are compared with transformers' eager loop, forward and backward passes with
    the package mambapy: pip install sentinel-research[peers].

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: width 256, 4 layers, 2048 tokens, some minutes; tiny: a rehearsal.
    pairs
        Rounds in which a thing and its alternative are timed; 7 by default, 3 at size tiny.
    """
    return _measure(["mamba"], size=size, device="cpu", pairs=pairs, output=output)


@bench.command
def precision(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time models held in 16, 8 and 4 bits, and in bfloat16, beside float32.

    Reading 256 tokens up to the first logit, and decoding; GPT-2's shape with random weights, and
    shakespeare-char-gpt2-8l where SENTINEL_MODELS has it. Memory is that of fresh processes.

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: GPT-2 small, five minutes on one free thread; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which all precisions are timed; 7 by default, 3 at size tiny.
    """
    return _measure(["precision"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def resolvent(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time the causal resolvent over lengths beside a copy of as much memory.

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: 1,024 to 65,536 positions of 64 channels; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds in which a thing and its alternative are timed; 7 by default, 3 at size tiny.
    """
    return _measure(["resolvent"], size=size, device=device, pairs=pairs, output=output)


@bench.command
def runs(
    *,
    output: Path | None = None,
    size: Size = "124m",
    pairs: int = 5,
) -> int:
    """Time the list of 10,000 runs, a filter and a data frame, beside reading every record.

    The records are made from a real one, of a small model that is trained, pruned and measured for
    it, and take a gigabyte of the temporary folder.

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: 10,000 records, some minutes; tiny: a rehearsal with 20.
    pairs
        Rounds in which all are timed.
    """
    return _measure(["runs"], size=size, device="cpu", pairs=pairs, output=output)


@bench.command
def sweep(
    *,
    output: Path | None = None,
    size: Size = "124m",
    device: str = "cpu",
    pairs: int | None = None,
) -> int:
    """Time a sweep of 16 cells beside one `lm_eval --model hf` process for every cell.

    One process of the other command is run in every round, on a folder that the sweep saved, and
    stands for all 16; its answers are compared with the sweep's.

    Parameters
    ----------
    output
        File that the section joins; without it the JSON goes to stdout.
    size
        124m: a model of 16 million parameters, two minutes a round; tiny: a rehearsal.
    device
        cpu, cuda or cuda:N.
    pairs
        Rounds; 3 by default.
    """
    return _measure(["sweep"], size=size, device=device, pairs=pairs or 3, output=output)


def _measure(
    sections: "list[AnySection]", *, size: Size, device: str, pairs: int | None, output: Path | None
) -> int:
    """Measure sections; 1 if a check failed."""
    from sentinel_research.process import prepare_process

    prepare_process()
    from sentinel_research.bench.files import to_json
    from sentinel_research.bench.run import bench as measure
    from sentinel_research.bench.schema import SECTIONS

    found = measure(sections, size=size, device=device, num_pairs=pairs, output=output, told=_show)
    print(to_json(found) if output is None else output)
    measured = [one for name in SECTIONS if name in sections and (one := found.section(name))]
    return int(not all(check.passed for one in measured for check in one.checks))


def _show(name: "AnySection", section: "Section | None") -> None:
    from sentinel_research.bench.show import lines_of

    if section is None:
        print(f"{name} ...", file=sys.stderr, flush=True)
        return
    for line in lines_of(section):
        print(f"  {line}", file=sys.stderr, flush=True)
