"""To a person's eyes a run is its pieces of work; numbers and records are for trackers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel_research.record import CellRecord, RunRecord


class DeafToRecords:
    """The part of Progress that is heard by trackers alone, unheard."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See Progress."""

    def opened(self, record: "RunRecord", folder: Path) -> None:
        """See Progress."""

    def measured(self, label: str, cell: "CellRecord") -> None:
        """See Progress."""

    def concluded(self, record: "RunRecord", folder: Path, label: str = "") -> None:
        """See Progress."""

    def closed(self, *, is_done: bool) -> None:
        """See Progress."""
