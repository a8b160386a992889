"""The folder of one model of a sweep: an index of its cells, and a record for each.

One process writes it, whoever computed the cells. A record is written once, when its cell is done
or has failed; a failed one gives way to the next, and a done one to nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from sentinel_research.cell_plan import PlannedCell
from sentinel_research.errors import UsageError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.pipeline import new_record, refuse_other
from sentinel_research.record import CELLS_FOLDER, INDEX_FILE, RECORD_FILE, RunRecord, Status
from sentinel_research.specs import Recipe


class CellStore:
    """Keeps what became of the cells of one model.

    Args:
        folder: Of the model; created.
        recipe: Of the model.
        cells: All that the recipe asks for.

    Raises:
        UsageError: if the folder is another recipe's, or cannot be written.
    """

    def __init__(self, folder: Path, recipe: Recipe, cells: list[PlannedCell]) -> None:
        self.folder = create_folder(folder)
        if (folder / RECORD_FILE).exists():
            raise UsageError(
                f"{folder} holds a run with one record for all of its cells",
                "choose another folder with --output DIR",
            )
        path = folder / INDEX_FILE
        if path.exists():
            self.index = RunRecord.parse(path.read_text(encoding="utf-8"), path)
            refuse_other(recipe, self.index, folder)
            self.index.status, self.index.finished_at = "started", None
        else:
            self.index = new_record(recipe)
            self.index.cells = [planned.new_record for planned in cells]
            self.write_index()
        found = {planned.id: self._status(planned.id) for planned in cells}
        self.statuses: dict[str, Status] = {
            cell: status for cell, status in found.items() if status is not None
        }

    def own(self, cell: str) -> Path:
        """The folder of a cell."""
        return self.folder / CELLS_FOLDER / cell

    def keep(self, record: RunRecord, files: Mapping[str, bytes]) -> bool:
        """Write the record of a cell that came to its end, unless one that is done is there.

        Args:
            record: Of the cell.
            files: What belongs beside it and was written elsewhere, by path in the cell's folder.

        Returns:
            Whether it was the first.

        Raises:
            StorageError: if it cannot be written.
        """
        (cell,) = record.cells
        if self.statuses.get(cell.id) == "done":
            return False
        own = create_folder(self.own(cell.id))
        for name, content in files.items():
            path = own / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        # the record comes last: where it is, all that it speaks of is there
        record.write(own, indent=None)
        self.statuses[cell.id] = cell.status
        return True

    def write_index(self) -> None:
        """Write the index, whose cells are as they were planned."""
        write_atomically(self.folder / INDEX_FILE, self.index.to_json() + "\n")

    def _status(self, cell: str) -> Status | None:
        path = self.own(cell) / RECORD_FILE
        try:
            status: Status = json.loads(path.read_text(encoding="utf-8"))["status"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UsageError(
                f"{path} is not the record of a cell: {error}",
                "delete the file: the cell is computed again",
            ) from error
        return status
