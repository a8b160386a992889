"""The commands of `sentinel`. Heavy imports live inside the commands: `--help` needs no torch."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

import sentinel_research
from sentinel_research.cli.flags import BY_DEFAULT, TOLD, Told
from sentinel_research.cli.sweep import SWEEPS, Chosen, ExecutorName

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
app.register_install_completion_command(
    help="Complete commands and flags by the tab key: --shell bash, zsh or fish; yours by default."
)
# loaded when they are called: half a second that no other command has to wait
LOADED_LATER = {
    "baseline": "Judge a run by kept numbers, and keep others with a reason.",
    "bench": "Measure speed, each as a ratio to something measured beside it.",
    "benchmark": "Prune by several strategies at several levels, train each back, and measure all "
    "of it.",
    "claims": "What was claimed, what was measured, and what follows: a ledger.",
    "compare": "Compare measured models by paired tests of their samples; the first is the "
    "reference.",
    "compare_agency": "Prune a model with agency and the same without, level by level, and compare "
    "them.",
    "downstream": "Fine-tune finished models on tasks of lm-eval, and measure them before and "
    "after.",
    "evaluate": "Measure a model as it is with lm-eval. The same command resumes an interrupted "
    "run.",
    "explore": "Take heads, neurons and blocks out of a model on a local page, and see what that "
    "does.",
    "finetune": "Prune a model's heads, train what is left, and measure it before and after.",
    "mamba_vs_bk": "Train and measure Mamba and ResNet-BK at equal size, and write one JSON file "
    "for each.",
    "profile": "Measure what a model costs to run, alone and beside what pruning makes of it.",
    "runs": "List the runs below a folder, the newest first, or export what they measured.",
}
"""Commands by the module that they are in, with their help as `sentinel --help` shows it."""
for _name, _help in LOADED_LATER.items():
    app.command(f"sentinel_research.cli.{_name}:{_name}", help=_help)
Kind = Literal["recipes", "scorers", "tasks", "corpora", "architectures", "recoveries", "launch"]


@app.command
def run(
    recipe: str,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    tune: int | None = None,
    output: Path | None = None,
    executor: Annotated[ExecutorName, Parameter(group=SWEEPS)] = "local",
    address: Annotated[str | None, Parameter(group=SWEEPS)] = None,
    workers: Annotated[int | None, Parameter(group=SWEEPS)] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Run a recipe from model to report. The same command resumes an interrupted run.

    Parameters
    ----------
    recipe
        Name of a shipped recipe (`sentinel ls recipes`) or path of a YAML file.
    set_
        Override a recipe key: --set prune.fractions=[0,0.5] (repeatable; values are YAML).
    tune
        Search the settings of every compared architecture with so many trials each, in place of
        the recipe's grid of learning rates; `tune` in a recipe says more.
    output
        Run folder; runs/NAME-FINGERPRINT by default.
    executor
        Who computes the cells of a sweep: local, this process; or ray, a cluster (pip install
        sentinel-research[cluster]).
    address
        Of the cluster, as ray knows it: auto, HOST:PORT, ray://HOST:PORT; without it ray starts
        one on this machine.
    workers
        Processes of the cluster that compute; as many as it has processors by default.
    dry_run
        Show the resolved recipe, what would be removed and which tasks were found; run nothing.
    """
    from sentinel_research.cli.run import run_recipe, tuning_overrides

    overrides = [*(set_ or []), *(tuning_overrides(recipe, tune) if tune is not None else ())]
    chosen = Chosen(executor, address, workers)
    return run_recipe(recipe, overrides, output=output, dry_run=dry_run, told=told, executor=chosen)


@app.command
def train(
    recipe: str | None = None,
    *,
    architecture: str | None = None,
    config: Annotated[list[str] | None, Parameter(negative="")] = None,
    corpus: Annotated[list[str] | None, Parameter(negative="")] = None,
    tokenizer: str | None = None,
    steps: int | None = None,
    sequence_length: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    data: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    output: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Train an architecture from scratch. The same command resumes an interrupted training.

    The checkpoint is OUTPUT/model, its record OUTPUT/record.json.

    Parameters
    ----------
    recipe
        Recipe whose `model` and `train` sections are taken; without it, give --architecture,
        --corpus and --steps.
    architecture
        Registered architecture (`sentinel ls architectures`).
    config
        Key of its configuration: --config hidden_size=64 (repeatable; values are YAML).
    corpus
        Corpus to train on (`sentinel ls corpora`); repeatable, all are shuffled together.
    tokenizer
        bytes, a folder, or a hub id; the synthetic corpus has its own.
    steps
        Optimiser steps.
    sequence_length
        Tokens per training sequence.
    batch_size
        Sequences per step.
    learning_rate
        Peak learning rate.
    seed
        Initialisation, data order and dropout.
    device
        cpu, cuda or cuda:N.
    data
        Mirror folder laid out as hub repositories.
    set_
        Any other key: --set train.precision=bf16 (repeatable; values are YAML).
    output
        Run folder; runs/NAME-FINGERPRINT by default.
    dry_run
        Show the resolved recipe and the size of the model; train nothing.
    """
    from sentinel_research.cli.train import train_recipe

    settings = {
        "model.architecture": architecture,
        "model.tokenizer": tokenizer,
        "model.device": device,
        "data": data,
        "train.corpus": corpus[0] if corpus and len(corpus) == 1 else corpus,
        "train.num_steps": steps,
        "train.sequence_length": sequence_length,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.seed": seed,
    }
    overrides = [*(f"model.config.{pair}" for pair in config or []), *(set_ or [])]
    return train_recipe(recipe, settings, overrides, output=output, dry_run=dry_run, told=told)


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
    """Write report.html, report.md and report.json of a run or a sweep again.

    Parameters
    ----------
    folder
        A folder written by `sentinel run`; of a sweep, all of its models or one of them.
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
