"""That recoveries which are compared saw as many tokens of the same text."""

from sentinel_research.record import CellRecord, Check, RunRecord
from sentinel_research.reporting.numbers import counts, quantity
from sentinel_research.reporting.recovery.results import budget_of

NAME = "all recoveries of a comparison saw as many tokens of the same blocks"


def check_budgets(record: RunRecord) -> Check:
    """Whether trainings of one budget spent it, and on the same blocks, in the order of their seed.

    A phase has whole steps, so that a recovery of phases may differ from the budget by less than a
    step of each. With `patience` a training may stop before it has spent everything.

    Args:
        record: A run whose cells came to their end; trainings that did not are left out.
    """
    budgets: dict[str, list[CellRecord]] = {}
    for cell in record.cells:
        if cell.recover_spec is not None and cell.recover is not None and cell.status == "done":
            budgets.setdefault(budget_of(cell.recover_spec), []).append(cell)
    problems, parts = [], []
    for cells in budgets.values():
        blocks = sorted({cell.recover["data"]["blocks_sha256"] for cell in cells if cell.recover})
        if len(blocks) > 1:
            problems.append(f"blocks differ: {', '.join(digest[:12] for digest in blocks)}")
        problems += [problem for cell in cells if (problem := _overspent(cell))]
        tokens = counts([_num_tokens(cell) for cell in cells])
        parts.append(f"{quantity(len(cells), 'training')}: {tokens} tokens of {blocks[0][:12]}")
    return Check(
        name=NAME,
        passed=not problems,
        detail="; ".join([*problems, *parts]) or "no recovery came to its end",
    )


def _num_tokens(cell: CellRecord) -> int:
    return sum(phase["num_tokens"] for phase in (cell.recover or {})["phases"])


def _overspent(cell: CellRecord) -> str:
    """How a training missed its budget by more than whole steps explain; empty if it did not."""
    spec = (cell.recover_spec or {})["train"]
    asked = spec["num_steps"] * spec["batch_size"] * (spec["sequence_length"] - 1)
    phases = (cell.recover or {})["phases"]
    # one phase is what was asked for; of several each is rounded to steps of its own size
    steps = [phase["num_tokens"] / phase["num_steps"] for phase in phases]
    tolerance = sum(steps) if len(phases) > 1 else 0
    over = _num_tokens(cell) - asked
    stops_early = spec["patience"] is not None and over < 0
    if abs(over) <= tolerance or stops_early:
        return ""
    return f"{cell.id} saw {_num_tokens(cell):,} tokens of {asked:,}"
