"""What is compared: measured cells of run folders, named FOLDER or FOLDER:CELL."""

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.record import CellRecord, EvaluationReport, RunRecord

_KEPT = ".json.xz"
_HINT = "name two or more as FOLDER or FOLDER:CELL, the reference first"


class Subject(NamedTuple):
    """A measured cell."""

    name: str
    """FOLDER:CELL."""
    path: Path
    """The run folder, or the file of a record that is kept without it."""
    record: RunRecord
    """Its run's record."""
    cell: CellRecord
    """The cell, with an evaluation."""

    @property
    def evaluation(self) -> EvaluationReport:
        """What was measured."""
        assert self.cell.evaluation is not None
        return self.cell.evaluation

    @property
    def folder(self) -> Path | None:
        """Where samples are; null for a record that is kept without them."""
        return self.path if self.path.is_dir() else None

    @property
    def place(self) -> tuple[Path, str]:
        """What it is, however it was typed."""
        return self.path, self.cell.id


class Pair(NamedTuple):
    """Two cells to compare."""

    first: Subject
    """The reference."""
    second: Subject
    """What is compared with it."""


class _Named(NamedTuple):
    text: str
    """The folder or file as it was typed."""
    path: Path
    record: RunRecord
    cell: str | None

    @property
    def measured(self) -> dict[str, CellRecord]:
        return {one.id: one for one in self.record.cells if one.evaluation is not None}

    def subject(self, cell: str) -> Subject:
        return Subject(f"{self.text}:{cell}", self.path, self.record, self.measured[cell])


def find_pairs(names: Sequence[str]) -> list[Pair]:
    """Every cell that is compared, with its reference.

    A cell is named, or the only measured one of its folder; where two folders hold several, cells
    of the same id are pairs.

    Args:
        names: FOLDER or FOLDER:CELL, at least two, the reference first; a file .json.xz is a record
            that is kept without its samples.

    Raises:
        UsageError: for fewer than two, a folder without a record, a cell that is not there or was
            not measured, the same cell twice, or folders without a cell in common.
    """
    if len(names) < 2:
        raise UsageError(f"{len(names)} model(s) cannot be compared", _HINT)
    reference, *others = [_open(name) for name in names]
    pairs = [pair for other in others for pair in _pairs(reference, other)]
    for pair in pairs:
        if pair.first.place == pair.second.place:
            raise UsageError(
                f"{pair.first.name} is compared with itself",
                f"name another cell: {_cells(reference)}",
            )
    return pairs


def _open(name: str) -> _Named:
    text, cell = name, None
    if not Path(name).exists() and ":" in name:
        text, _, cell = name.rpartition(":")
    path = Path(text)
    is_kept = path.name.endswith(_KEPT) and path.is_file()
    found = _Named(
        text.rstrip("/"),
        path.resolve(),
        _read_kept(path) if is_kept else RunRecord.read(path),
        cell,
    )
    if cell is not None and cell not in found.measured:
        why = "was not measured" if cell in {one.id for one in found.record.cells} else "is no cell"
        raise UsageError(f"'{cell}' {why} of {text}", did_you_mean(cell, found.measured))
    if not found.measured:
        raise UsageError(f"no cell of {text} was measured", "finish it: the same command resumes")
    return found


def _read_kept(path: Path) -> RunRecord:
    """A record that is kept in the repository, without its run folder."""
    try:
        return RunRecord.parse(lzma.decompress(path.read_bytes()).decode(), path)
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", _HINT) from error


def _pairs(first: _Named, second: _Named) -> list[Pair]:
    one, other = _only(first), _only(second)
    if one is not None and other is not None:
        return [Pair(first.subject(one), second.subject(other))]
    shared = [cell for cell in first.measured if cell in second.measured]
    if first.cell is None and second.cell is None and shared:
        return [Pair(first.subject(cell), second.subject(cell)) for cell in shared]
    raise UsageError(
        f"which cells of {first.text} and {second.text} are to be compared?",
        f"name them as FOLDER:CELL; {first.text} has {_cells(first)}; {second.text} has "
        f"{_cells(second)}",
    )


def _only(named: _Named) -> str | None:
    """The cell that is named, or the only one."""
    if named.cell is not None or len(named.measured) > 1:
        return named.cell
    return next(iter(named.measured))


def _cells(named: _Named) -> str:
    return ", ".join(named.measured)
