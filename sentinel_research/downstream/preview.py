"""What a downstream run would do, without fine-tuning or measuring anything."""

from sentinel_research.downstream.plan import load_lessons, plan_downstream
from sentinel_research.specs import Recipe


def preview_downstream(recipe: Recipe) -> list[str]:
    """Lines about units, documents and cells; all data is read, so that nothing is missing later.

    Args:
        recipe: With `downstream`.

    Raises:
        UsageError: for an unknown task, one without training documents, or a missing checkpoint.
        DataError: if data cannot be had, or does not fill a batch.
    """
    from sentinel_research.downstream.documents import choose_documents
    from sentinel_research.models import check_checkpoint

    spec = recipe.downstream
    assert spec is not None  # the caller's recipe fine-tunes
    lines = []
    for name, checkpoints in spec.models.items():
        for one in checkpoints:
            check_checkpoint(one, "main")
        lines.append(f"{name}: {', '.join(checkpoints)}")
    rates = ", ".join(f"{rate:g}" for rate in spec.rates)
    units = load_lessons(recipe).units
    for unit in units:
        chosen = choose_documents(unit, spec)
        train, held = (sum(len(getattr(one, part)) for one in chosen) for part in _PARTS)
        dropped = sum(one.report["num_evaluated_too"] for one in chosen)
        left_out = f", {dropped} left out that are evaluated too" if dropped else ""
        tasks = f" ({len(unit.tasks)} tasks together)" if len(unit.tasks) > 1 else ""
        lines.append(
            f"{unit.name}{tasks}: {train:,} documents to train on, {held:,} held out{left_out}; "
            f"{spec.epochs * (train // spec.train.batch_size):,} steps of "
            f"{spec.train.batch_size}, learning rate {rates}"
        )
    cells = plan_downstream(spec, units)
    lines.append(f"models to measure: {len(cells)}")
    return [*lines, *(f"  {cell.id}" for cell in cells)]


_PARTS = ("train", "held_out")
