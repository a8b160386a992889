"""`sentinel profile`: what a model costs, what pruning buys, and what a speed-up costs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from sentinel_research.cli.flags import BY_DEFAULT, TOLD, Hushed

if TYPE_CHECKING:
    from sentinel_research.specs.profile import ProfileSpec

Unit = Literal["head", "kv_group", "neuron", "layer"]
_MANY = Parameter(negative="")


def profile(
    model: str,
    *,
    prune: Annotated[list[str] | None, _MANY] = None,
    fraction: Annotated[list[float] | None, _MANY] = None,
    granularity: Annotated[list[str] | None, _MANY] = None,
    scorer: str | None = None,
    corpus: str | None = None,
    sequences: int = 32,
    sequence_length: int = 64,
    level: Annotated[list[Literal[0, 1, 2, 3]] | None, _MANY] = None,
    integration: Annotated[bool, _MANY] = False,
    attention: Annotated[bool, _MANY] = False,
    target_speedup: float | None = None,
    phase: Literal["prefill", "decode", "both"] = "both",
    search: Literal["greedy", "optuna"] = "greedy",
    trials: int = 60,
    steps: int = 4,
    unit: Annotated[list[Unit] | None, _MANY] = None,
    bits: Annotated[list[Literal[4, 8, 16, 32]] | None, _MANY] = None,
    batch_size: Annotated[list[int] | None, _MANY] = None,
    prompt_tokens: int = 128,
    new_tokens: int = 8,
    pairs: int = 11,
    memory: bool = True,
    modules: bool = True,
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    device: str = "cpu",
    seed: int = 0,
    output: Path | None = None,
    told: Annotated[Hushed, TOLD] = BY_DEFAULT,
) -> int:
    """Measure what a model costs to run, alone and beside what pruning makes of it.

    Everything is timed in turns with the dense model; a ratio has an interval, and beside it what
    arithmetic allows. Exit code 1: the target was not reached.

    Parameters
    ----------
    model
        Folder, name below SENTINEL_MODELS or hub id; or shape:WIDTH, a random GPT-2 of 3.4m, 16m,
        124m or 355m parameters.
    prune
        A pruning: --prune head=0.5,neuron=0.5,layer=0.33,bits=8 (repeatable).
    fraction
        With --granularity: a pruning for every fraction of every granularity (repeatable).
    granularity
        head, kv_group, neuron, layer, or several at one fraction: head+neuron (repeatable).
    scorer
        Chooses the units (sentinel ls scorers); gate_gradient with a corpus, else magnitude_l2.
    corpus
        Text for scorers and for quality (sentinel ls corpora); its test split judges.
    sequences
        Sequences of text, of calibration and of quality each.
    sequence_length
        Tokens of each.
    level
        Run each pruning at this optimisation level (repeatable): 0 multiplies by gates, 1 skips
        silent units, 2 removes them, 3 compiles what is left. Outputs are checked first.
    integration
        Measure gates, U-Net connections and a frozen baseline, dense and with half of the heads.
    attention
        Time one attention block at 32 to 512 tokens beside SDPA and a loop over heads.
    target_speedup
        Search for the combination of least loss that is so many times as fast.
    phase
        Where it has to be.
    search
        greedy, or optuna: pip install sentinel-research[search].
    trials
        Combinations that optuna tries.
    steps
        Parts that every kind of unit is cut into.
    unit
        What the search may remove (repeatable); head, neuron and layer by default.
    bits
        In how many bits the search may hold the rest (repeatable); 32 by default.
    batch_size
        Sequences at once (repeatable); 1 by default.
    prompt_tokens
        Tokens read before the first new one.
    new_tokens
        Tokens decoded behind the prompt.
    pairs
        Rounds in which everything is timed.
    memory
        Measure peak memory and loading in a new process.
    modules
        Profile where the time goes.
    dtype
        Type of all weights.
    device
        cpu, cuda or cuda:N.
    seed
        Of the random prompt, and of optuna.
    output
        Folder for profile.json, profile.md and profile.html, and for the plan and the model of a
        target; the same command goes on where it was stopped. Without it the JSON goes to stdout.
    """
    from sentinel_research.process import prepare_process

    prepare_process()
    target = {
        "speed_up": target_speedup,
        "phase": phase,
        "search": search,
        "num_trials": trials,
        "num_steps": steps,
        "units": unit or ("head", "neuron", "layer"),
        "bits": bits or (32,),
        "seed": seed,
    }
    given: dict[str, Any] = {
        "prune": prune or [],
        "fractions": fraction or [],
        "granularities": granularity or [],
        "target": None if target_speedup is None else target,
        "spec": {
            "model": model,
            "scorer": scorer,
            "corpus": corpus,
            "num_sequences": sequences,
            "sequence_length": sequence_length,
            "levels": level or [],
            "integration": integration,
            "attention": attention,
            "dtype": dtype,
            "device": device,
        },
        "cost": {
            "batch_sizes": batch_size or [1],
            "prompt_tokens": prompt_tokens,
            "new_tokens": new_tokens,
            "num_repetitions": pairs,
            "fresh_process": memory,
            "modules": modules,
            "seed": seed,
        },
    }
    return _carry_out(_spec(given), output, told)


def _spec(given: dict[str, Any]) -> "ProfileSpec":
    """The request, checked.

    Raises:
        UsageError: for what cannot be asked.
    """
    from pydantic import ValidationError

    from sentinel_research.errors import UsageError
    from sentinel_research.specs.profile import ProfileSpec, parse_combination

    fractions, granularities = given["fractions"], given["granularities"]
    if bool(fractions) != bool(granularities):
        raise UsageError(
            "--fraction and --granularity are of each other, and one is missing",
            "--granularity head --fraction 0.3 --fraction 0.5, or --prune head=0.3",
        )
    texts = [
        *given["prune"],
        *(
            ",".join(f"{kind}={fraction}" for kind in several.split("+"))
            for several in granularities
            for fraction in fractions
        ),
    ]
    try:
        combinations = [parse_combination(text) for text in texts]
        parts = {key: given[key] for key in ("cost", "target")}
        return ProfileSpec.model_validate({**given["spec"], **parts, "combinations": combinations})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"{where}: {message}" if where else message, "See: sentinel profile --help"
        ) from error
    except ValueError as error:
        raise UsageError(str(error), "See: sentinel profile --help") from error


def _carry_out(spec: "ProfileSpec", output: Path | None, told: Hushed) -> int:
    from sentinel_research.files import write_atomically
    from sentinel_research.profiling.page import profile_page
    from sentinel_research.profiling.run import MARKDOWN, profile
    from sentinel_research.profiling.show import to_markdown, verdict
    from sentinel_research.progress import Plain, Silent
    from sentinel_research.reporting.document import write_document

    # a live display is a thread that would be timed too
    report = profile(spec, output, progress=Silent(sys.stderr) if told.quiet else Plain())
    text = to_markdown(report)
    print(text, file=sys.stderr)
    if output is None:
        print(report.model_dump_json(indent=1))
    else:
        write_atomically(output / MARKDOWN, text)
        write_document(profile_page(report), output, "profile", markdown=False)
        print(output)
    if report.target is None or (report.target.best and report.target.best.reaches):
        return 0
    print(f"error: {verdict(report)}", file=sys.stderr)
    return 1
