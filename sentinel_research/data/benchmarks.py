"""The data of benchmark tasks: splits of one repository, read when somebody asks for them.

lm-eval takes a mapping of splits. This one reads a split at its first use, so that a task can name
its training split for examples and fine-tuning without an evaluation reading it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from sentinel_research.data import mirror
from sentinel_research.data.provenance import attach, hash_strings, provenance_of

SOURCE_COLUMN = "source_split"
"""In interleaved splits, the split that a row is from."""


class Splits:
    """The splits of one configuration, from the mirror or the hub, each read once asked for.

    Args:
        repository: Hub name, `org/name`.
        subset: Configuration of it.
        interleaved: Names of further splits: rows of the listed splits in turn, so that a limited
            evaluation sees all of them; the column `source_split` says where a row is from.
    """

    def __init__(
        self, repository: str, subset: str, interleaved: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.repository = repository
        self.subset = subset
        self._interleaved = {name: tuple(parts) for name, parts in (interleaved or {}).items()}

    def __getitem__(self, split: str) -> Dataset:
        """The rows of a split, with their provenance.

        Raises:
            DataError: if neither the mirror nor the hub has it; the message lists what there is.
        """
        place = mirror.mirror_folder()
        if split in self._interleaved:
            return _in_turn(self.repository, self.subset, self._interleaved[split], place)
        return _rows(self.repository, self.subset, split, place)


def load_benchmark(
    repository: str,
    subset: str,
    interleaved: Mapping[str, Sequence[str]] | None = None,
    **_ignored: Any,
) -> Splits:
    """The data of a benchmark task, for `custom_dataset` in its YAML.

    Args:
        repository: Hub name, from the YAML's `dataset_kwargs`.
        subset: Configuration of it, likewise.
        interleaved: See `Splits`.
        **_ignored: lm-eval passes the task's metadata and all model arguments as well.

    Returns:
        Its splits; nothing is read yet.
    """
    return Splits(repository, subset, interleaved)


@lru_cache(maxsize=256)
def _rows(repository: str, subset: str, split: str, _place: Path | None) -> Dataset:
    """Read once per process and place: a run loads its tasks several times."""
    return mirror.load(repository, subset, split)


@lru_cache(maxsize=8)
def _in_turn(repository: str, subset: str, splits: tuple[str, ...], place: Path | None) -> Dataset:
    parts = [_rows(repository, subset, split, place) for split in splits]
    order: list[tuple[int, int, int]] = []
    start = 0
    for number, part in enumerate(parts):
        order.extend((row, number, start + row) for row in range(len(part)))
        start += len(part)
    names = [split for split, part in zip(splits, parts, strict=True) for _ in range(len(part))]
    joined = concatenate_datasets(parts).add_column(SOURCE_COLUMN, names)
    rows = joined.select([index for _, _, index in sorted(order)])
    provenances = [provenance_of(part) for part in parts]
    files = {name: value for one in provenances for name, value in one.files.items()}
    joined_provenance = replace(
        provenances[0],
        split="+".join(splits),
        num_documents=len(rows),
        text_sha256=hash_strings(rows),
        files=files,
    )
    return attach(rows, joined_provenance)
