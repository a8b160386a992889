"""What claims are judged by: kept records and speed files, each read once, and by its hash.

Records are compressed beside the baselines: `records/NAME.json.xz`, or `records/NAME/LABEL.json.xz`
where a measurement has several runs. They hold no samples.
"""

import hashlib
import lzma
import re
from collections.abc import Mapping
from pathlib import Path

from sentinel_research.bench.files import parse_file
from sentinel_research.bench.schema import SECTIONS, SpeedFile
from sentinel_research.bench.schema_base import Section
from sentinel_research.data.tasks import task_folder
from sentinel_research.errors import DataError, UsageError
from sentinel_research.files import write_atomically
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.timing import Comparison

RECORDS = "records"
SPEED = "speed"
_SUFFIX = ".json.xz"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class AbsentError(DataError):
    """A number that a claim needs was not measured."""


class Evidence:
    """Records and speed files of a folder of baselines.

    Args:
        folder: Of all baselines.
        device: Name of the speed file.
        runs: Run folders to read in place of kept records, by name.
    """

    def __init__(self, folder: Path, device: str, runs: Mapping[str, Path] | None = None) -> None:
        self._folder, self._device, self._runs = folder, device, dict(runs or {})
        self._records: dict[str, RunRecord] = {}
        self._speed: SpeedFile | None = None
        self.hashes: dict[str, str] = {}
        """SHA-256 of every file that was read, by its path in the folder."""

    def record(self, name: str) -> RunRecord:
        """The record of a measurement, `NAME` or `NAME/LABEL`.

        Raises:
            AbsentError: if it is not kept.
        """
        if name not in self._records:
            if name in self._runs:
                self._records[name] = RunRecord.read(self._runs[name])
            else:
                path = record_path(self._folder, name)
                content = self._read(path, f"the run '{name}' is not kept")
                self._records[name] = RunRecord.parse(_unpacked(content, path), path)
        return self._records[name]

    def cell(self, run: str, cell: str) -> CellRecord:
        """One cell of a run.

        Raises:
            AbsentError: if it is not there, or was not measured.
        """
        try:
            found = self.record(run).cell(cell)
        except KeyError as error:
            raise AbsentError(f"the run '{run}' has no cell '{cell}'") from error
        if found.evaluation is None:
            raise AbsentError(f"'{cell}' of the run '{run}' was not measured: {found.error}")
        return found

    def section(self, name: str) -> Section:
        """A section of the speed file.

        Raises:
            AbsentError: if it was not measured.
        """
        if self._speed is None:
            path = self._folder / SPEED / f"{self._device}.json"
            self._speed = parse_file(self._read(path, "no speed is kept").decode(), path)
        found = getattr(self._speed, name) if name in SECTIONS else None
        if not isinstance(found, Section):
            raise AbsentError(f"the section '{name}' of the speed file was not measured")
        return found

    def comparison(self, section: str, name: str) -> Comparison:
        """One comparison of a section.

        Raises:
            AbsentError: if there is none of the name.
        """
        for one in self.section(section).comparisons:
            if one.name == name:
                return one
        raise AbsentError(f"the section '{section}' of the speed file has no '{name}'")

    def _read(self, path: Path, missing: str) -> bytes:
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise AbsentError(f"{missing}: there is no {path}") from error
        self.hashes[path.relative_to(self._folder).as_posix()] = hashlib.sha256(content).hexdigest()
        return content


def _unpacked(content: bytes, path: Path) -> str:
    try:
        return lzma.decompress(content).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is damaged: {error}",
            "restore it, or type: sentinel claims measure NAME",
        ) from error


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a measurement is kept.

    Args:
        folder: Of all baselines.
        name: `NAME` or `NAME/LABEL`.

    Raises:
        UsageError: for a name that is no name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of a run", "write NAME or NAME/LABEL")
    return folder / RECORDS / f"{name}{_SUFFIX}"


def keep(folder: Path, name: str, record: RunRecord, run: Path | None = None) -> Path:
    """Keep a finished run's record for claims; the same record gives the same bytes.

    Args:
        folder: Of all baselines.
        name: `NAME` or `NAME/LABEL`.
        record: Of the run.
        run: Its folder. Paths in it and in the folder of tasks are kept without what is before
            them: where a machine has them says nothing about the numbers.

    Raises:
        UsageError: for a run that is not done, or of which a check failed.
    """
    record.require_sound()
    path = record_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = record.model_dump_json()
    for place in (task_folder().parent, *(() if run is None else (run.resolve(), run))):
        text = text.replace(f"{place}/", "")
    write_atomically(path, lzma.compress(f"{text}\n".encode(), preset=9))
    return path
