"""`sentinel evaluate`: measure a model as it is, by a recipe of two sections."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sentinel_research.cli.flags import BY_DEFAULT, PUBLISHED, TOLD, Told
from sentinel_research.record import RunRecord
from sentinel_research.specs.base import Spec


class EvaluateRequest(Spec):
    """The flags of `sentinel evaluate`, under lm-eval's names where it has them."""

    tasks: tuple[str, ...]
    """Task, group or tag names: the project's own (`sentinel ls tasks`) or lm-eval's."""
    include_path: tuple[Path, ...] | None = None
    """Folders of task files of your own; functions that they name are run."""
    num_fewshot: int | None = None
    """Examples in the prompt; each task's own by default."""
    limit: int | None = None
    """Only the first documents of every task, for a quick look."""
    batch_size: int | Literal["auto"] | None = None
    """Windows or requests per forward pass; auto takes more of them while that is faster."""
    max_length: int | None = None
    """Window in tokens; the model's context by default."""
    prefix_token_id: int | None = None
    """Token before a text's first; BOS or EOS by default, which character models lack."""
    seed: int | None = None
    """Of the drawn examples."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer, or bytes; the model's own by default."""
    revision: str | None = None
    """Hub revision of the model."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = None
    """Weights' type; the checkpoint's by default."""
    bits: int | None = None
    """4, 8, 16: bits that the weights of the layers are held in; 32: float32 throughout."""
    activations: Literal["auto", "float", "int8"] | None = None
    """With 8 bits: int8 rounds activations too, which is faster on a CPU and the default there."""
    device: str | None = None
    """cpu, cuda or cuda:N."""
    device_map: Literal["auto"] | None = None
    """auto: spread the model over all GPUs, the memory and the disk."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""
    use_cache: Path | None = None
    """Keep the model's answers in PATH_rank0.db and find them there; other models' are not."""


_KEYS = {
    "tokenizer": "model.tokenizer",
    "revision": "model.revision",
    "dtype": "model.dtype",
    "bits": "model.bits",
    "activations": "model.activations",
    "device": "model.device",
    "device_map": "model.device_map",
    "data": "data",
    "use_cache": "evaluate.cache",
}


def evaluate(
    model: str,
    *,
    request: Annotated[EvaluateRequest, PUBLISHED],
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    output: Path | None = None,
    dry_run: Annotated[bool, Parameter(name=["--dry_run", "--dry-run"], negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Measure a model as it is with lm-eval. The same command resumes an interrupted run.

    Parameters
    ----------
    model
        Folder, name below SENTINEL_MODELS, or hub id.
    set_
        Any other key of a recipe: --set evaluate.add_bos_token=true (repeatable; values are YAML).
    output
        Run folder; runs/NAME-FINGERPRINT by default.
    dry_run
        Show the resolved recipe and which tasks were found; run nothing.
    """
    from sentinel_research import distributed
    from sentinel_research.cli.run import carry_out
    from sentinel_research.recipe import load_evaluation

    given = request.model_dump(mode="json", exclude_none=True)
    settings = {_KEYS.get(name, f"evaluate.{name}"): value for name, value in given.items()}
    resolved = load_evaluation(model, settings, set_ or [])
    code = carry_out(resolved, output=output, dry_run=dry_run, told=told)
    if not dry_run and distributed.is_main():
        from sentinel_research.pipeline import default_folder

        folder = output or default_folder(resolved.recipe)
        print("\n".join(["", *_measured(RunRecord.read(folder)), "", str(folder)]))
    return code


def _measured(record: RunRecord) -> list[str]:
    """Every metric of every task, a line each."""
    from sentinel_research.reporting.numbers import with_error

    found = [
        one for cell in record.cells if cell.evaluation for one in cell.evaluation.measurements
    ]
    rows = [(one.task, one.metric, with_error(one.value, one.stderr)) for one in found]
    widths = [max((len(row[at]) for row in rows), default=0) for at in (0, 1)]
    return [f"{task:<{widths[0]}}  {metric:<{widths[1]}}  {value}" for task, metric, value in rows]
