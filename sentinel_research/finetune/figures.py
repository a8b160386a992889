"""Loss curves and pruning masks of a run, as SVG and as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.files import create_folder, write_atomically
from sentinel_research.record import CellRecord, RunRecord

FIGURES_FOLDER = "figures"


class _Phase(NamedTuple):
    """One training of one recovery."""

    cell: str
    name: str
    report: dict[str, Any]


def write_figures(record: RunRecord, folder: Path) -> list[Path]:
    """Write `folder/figures`: a figure for every training and every mask, and tables of both.

    Args:
        record: The run.
        folder: Its folder.

    Returns:
        The files.
    """
    from sentinel_research.reporting.losses import draw_losses
    from sentinel_research.reporting.masks import draw_mask

    target = create_folder(folder / FIGURES_FOLDER)
    contents = {
        "losses.csv": _table(("cell", "phase", "split", "step", "loss"), _losses(record)),
        "masks.csv": _table(("cell", "layer", "head", "kept"), _masks(record)),
    }
    drawings = [
        draw_losses(
            phase.report["losses"],
            record.synthetic_data,
            validation=phase.report["validation"],
            name=f"{phase.cell}-{phase.name}",
        )
        for phase in _phases(record)
        if phase.report["losses"]
    ]
    for cell in _distinct_masks(record.cells):
        before, kept = _heads(cell, "before"), _heads(cell, "kept")
        drawings.append(draw_mask(before, kept, cell.id, record.synthetic_data))
    contents.update({drawing.file_name: drawing.svg for drawing in drawings})
    for name, content in contents.items():
        write_atomically(target / name, content)
    return [target / name for name in contents]


def _phases(record: RunRecord) -> Iterator[_Phase]:
    for cell in record.cells:
        for report in (cell.recover or {}).get("phases", []):
            yield _Phase(cell.id, report["name"], report)


def _losses(record: RunRecord) -> Iterator[tuple[Any, ...]]:
    for phase in _phases(record):
        for split, history in (("train", "losses"), ("validation", "validation")):
            for entry in phase.report[history]:
                yield phase.cell, phase.name, split, entry["step"], entry["loss"]


def _masks(record: RunRecord) -> Iterator[tuple[Any, ...]]:
    for cell in record.cells:
        if cell.prune is None:
            continue
        layers = zip(_heads(cell, "before"), _heads(cell, "kept"), strict=True)
        for layer, (before, kept) in enumerate(layers):
            for head in before:
                yield cell.id, layer, head, int(head in kept)


def _heads(cell: CellRecord, when: str) -> list[list[int]]:
    """By layer the heads `before` a pruning, or those that it `kept`."""
    assert cell.prune is not None
    plan = cell.prune["plan"]
    layers = plan["before"]["layers"] if when == "before" else plan["kept"]
    return [layer["heads"] for layer in layers]


def _distinct_masks(cells: Iterable[CellRecord]) -> Iterator[CellRecord]:
    """Cells with a mask; a recovery only where its mask is another than that of its pruning."""
    drawn: list[tuple[str, list[list[int]]]] = []
    for cell in cells:
        if cell.prune is None:
            continue
        mask = (cell.id.partition("+")[0], _heads(cell, "kept"))
        if mask not in drawn:
            drawn.append(mask)
            yield cell


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
