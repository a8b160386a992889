"""`sentinel run --dry-run`: what a recipe would do, without training or measuring anything."""

from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.cell_plan import PlannedCell, can_score, plan_cells
from sentinel_research.comparison import match_all, plan_comparison
from sentinel_research.downstream import preview_downstream
from sentinel_research.errors import SentinelError
from sentinel_research.inputs import define_inputs
from sentinel_research.pipeline import default_folder
from sentinel_research.progress import Silent
from sentinel_research.pruner import Pruner
from sentinel_research.recoverer import Recoverer
from sentinel_research.reporting.shortfalls import find_shortfall
from sentinel_research.specs import PruneSpec, Recipe
from sentinel_research.sweep.preview import preview_sweep
from sentinel_research.trained import untrained

_UNITS_SHOWN = 16
# by the kinds of a report: a layer is its two blocks there
_PLURAL = {
    "head": "heads",
    "kv_head": "KV groups",
    "neuron": "neurons",
    "attention": "attention blocks",
    "ffn": "feed-forward blocks",
    "weight": "weights",
}


class Preview(NamedTuple):
    """What a run would do."""

    text: str
    """Lines for people."""
    num_failed: int
    """Prunings that cannot be carried out."""


def dry_run(recipe: Recipe, folder: Path | None = None) -> Preview:
    """Describe a run: tasks found, units to remove, parameters and FLOPs before and after.

    Args:
        recipe: The resolved recipe. A pretrained model is loaded and scored as in the run. For a
            model that is yet to be trained the units are not known, but all counts are.
        folder: Of a sweep, whose earlier cells say what the others will cost; the run's default.

    Returns:
        A line per pruning; that of one that fails says why, as the run would record it.

    Raises:
        UsageError, DataError, CheckpointError: as the run itself would.
    """
    from sentinel_research.evaluation.limits import check_generation, check_limits

    define_inputs(recipe)
    lines = _stages(recipe)
    if recipe.sweep is not None:
        own = folder or default_folder(recipe)
        return Preview("\n".join([*lines, *preview_sweep(recipe, own)]), 0)
    cells = plan_cells(recipe)
    if recipe.downstream is not None:
        return Preview("\n".join([*lines, *preview_downstream(recipe)]), 0)
    if recipe.compare is not None:
        return Preview("\n".join([*lines, *_comparison(recipe)]), 0)
    lines.append(f"models to evaluate: {len(cells)}")
    model, tokenizer = _model_and_tokenizer(recipe)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    check_generation(recipe.evaluate, model.config, tokenizer)
    lines.append(f"  dense: {model.num_parameters():,} parameters")
    # untrained weights: which units go is not known; of one kind every scorer removes as many
    specs = {
        cell.id: cell.prune.model_copy(update={"scorer": "random"})
        if recipe.train is not None and can_score("random", cell.prune.granularities)
        else cell.prune
        for cell in cells
        if cell.prune is not None and cell.recover is None
    }
    pruner = Pruner(model, tokenizer, recipe, specs.values())
    Recoverer(model, tokenizer, pruner, Silent()).check(cells)
    num_failed = 0
    for cell_id, spec in specs.items():
        try:
            effect = _effect(pruner.prune(spec).report, spec, is_trained=recipe.train is None)
        except SentinelError as error:
            num_failed += 1
            effect = f"failed: {error.message}"
        lines.append(f"  {cell_id}: {effect}")
    lines += _recoveries(cells)
    return Preview("\n".join(lines), num_failed)


def _recoveries(cells: list[PlannedCell]) -> list[str]:
    """What is trained after pruning, one line per cell."""
    return [
        f"  {cell.id}: {', '.join(cell.recover.methods)}; {cell.recover.train.num_steps} steps of "
        f"{cell.recover.train.batch_size} x {cell.recover.train.sequence_length} tokens of "
        f"{', '.join(cell.recover.train.corpora)}, learning rate "
        f"{cell.recover.train.learning_rate:g}"
        for cell in cells
        if cell.recover is not None
    ]


def _stages(recipe: Recipe) -> list[str]:
    """What the recipe asks for, before any model is looked at."""
    lines = [f"tasks found: {', '.join(recipe.evaluate.tasks) or 'none, only training'}"]
    if recipe.train is not None:
        lines.append(
            f"training: {recipe.train.num_steps} steps of {recipe.train.batch_size} x "
            f"{recipe.train.sequence_length} tokens of {', '.join(recipe.train.corpora)}"
        )
    if recipe.evaluate.long_context is not None:
        asked = recipe.evaluate.long_context
        lines.append(
            f"long context: {asked.num_sequences} sequences of {asked.corpus}, {asked.split}, up "
            f"to {asked.lengths[-1]:,} tokens"
        )
    if recipe.evaluate.generation is not None:
        written = recipe.evaluate.generation
        lines.append(
            f"generation: {written.num_prompts * written.num_samples:,} continuations a model, of "
            f"up to {written.max_new_tokens} tokens, behind {written.num_prompts} prompts of "
            f"{written.corpus}, {written.split}"
        )
    return lines


def _comparison(recipe: Recipe) -> list[str]:
    """The compared architectures in their matched sizes, and every model that is trained."""
    assert recipe.compare is not None  # the caller's recipe compares
    cells = plan_comparison(recipe.compare, recipe.tune)
    lines = ["architectures as matched:" if recipe.compare.match else "architectures:"]
    for name, one in match_all(recipe).items():
        config = ", ".join(f"{key} {value}" for key, value in one["config"].items())
        agency = recipe.compare.architectures[name].agency
        added = "" if agency is None else f" with {agency.in_words()}"
        frozen = f" ({one['num_frozen']:,} frozen)" if one["num_frozen"] else ""
        is_matched = recipe.compare.match is not None
        off = f", {one['deviation']:+.2%} off the target" if is_matched else ""
        lines.append(
            f"  {name}{added}: {one['num_non_embedding']:,} parameters without embeddings{frozen} "
            f"of {one['num_parameters']:,}, {one['flops_per_token']:,.0f} training FLOPs per "
            f"token{off} ({config})"
        )
    if recipe.tune is not None:
        lines.append(f"search: {recipe.tune.in_words()}")
    lines.append(f"models to train or fit: {len(cells)}")
    return [*lines, *(f"  {cell.id}" for cell in cells)]


def _model_and_tokenizer(recipe: Recipe) -> tuple[Any, Any]:
    from sentinel_research.pruning import load

    if recipe.train is None:
        model, tokenizer, _ = load(recipe.model)
    else:
        model, tokenizer = untrained(recipe)
        model.eval()
    return model, tokenizer


def _effect(report: Any, spec: PruneSpec, *, is_trained: bool) -> str:
    counts = (
        f"{_counts(report, spec)}, parameters "
        f"{report.num_parameters_before:,} -> {report.num_parameters_after:,}, FLOPs per token "
        f"{report.flops_per_token_before:,.0f} -> {report.flops_per_token_after:,.0f}"
    )
    short = find_shortfall(spec.model_dump(mode="json"), report.model_dump(mode="json"))
    if short is not None:
        counts += f"; {short.in_words()}"
    if not is_trained:
        split = ", and how many of each kind," if len(spec.granularities) > 1 else ""
        return f"{counts} (which ones{split} is known after training)"
    labels = [label for found in report.removed.values() for label in found]
    if not labels:
        return counts
    more = len(labels) - _UNITS_SHOWN
    shown = " ".join(labels[:_UNITS_SHOWN])
    return f"{counts}: {shown}{f' and {more} more' if more > 0 else ''}"


def _counts(report: Any, spec: PruneSpec) -> str:
    """How many units of every kind go: `4 of 8 heads, 10 of 37 neurons`."""
    shown = []
    for kind, number in report.num_removed.items():
        # groups go with their heads, which are counted
        if kind != "kv_head" or "kv_group" in spec.granularities:
            before = report.num_before.get(kind)
            of = "" if before is None else f" of {before:,}"
            shown.append(f"{number:,}{of} {_PLURAL.get(kind, kind)}")
    return ", ".join(shown) or "nothing"
