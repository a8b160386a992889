"""Text of the user's own: files and folders as the splits of a corpus."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet

from sentinel_research.errors import DataError, did_you_mean
from sentinel_research.specs import CorpusSpec

SUFFIXES = (".json", ".jsonl", ".md", ".parquet", ".txt")
SPLITS = ("train", "validation", "test")

# train.txt, train-00000-of-00002.parquet, validation_2/: not testimony.txt
_SPLIT_NAME = re.compile(rf"({'|'.join(SPLITS)})(?![A-Za-z])")


class LocalTexts(NamedTuple):
    """What files hold."""

    splits: dict[str, list[str]]
    """Documents by split."""
    files: dict[str, dict[str, str]]
    """By split the SHA-256 of every file that it was read from, by its name below the path."""


def read_texts(spec: CorpusSpec) -> LocalTexts:
    """Read the documents of a path.

    Files that are a split by their name, or by that of a folder they are in, stay what they are.
    Otherwise documents are ordered by the SHA-256 of their text, so that the division depends on
    nothing else, and the first are for the test, the next for validation.

    Args:
        spec: With a path.

    Returns:
        The splits that have documents, in the order train, validation, test.

    Raises:
        DataError: if there is no such path or no document below it, if a file is damaged or lacks
            the column, only some of the files name their split, or a file leads out of the folder.
    """
    assert spec.path is not None  # the caller's spec has one
    root = Path(spec.path).expanduser().resolve()
    files = _files(root, spec.path)
    named = {path: None if path == root else _split_of(path.relative_to(root)) for path in files}
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    texts = {path: list(_documents(path, spec.column)) for path in files}
    unnamed = [path for path, split in named.items() if split is None]
    if not unnamed:
        found = {
            split: [text for path in files if named[path] == split for text in texts[path]]
            for split in SPLITS
        }
        origins = {
            split: {_name(path, root): hashes[path] for path in files if named[path] == split}
            for split in SPLITS
        }
    elif len(unnamed) == len(files):
        found = _divided([text for path in files for text in texts[path]], spec)
        everything = {_name(path, root): hashes[path] for path in files}
        origins = dict.fromkeys(SPLITS, everything)
    else:
        raise DataError(
            f"{spec.path}: {_name(unnamed[0], root)} is none of {', '.join(SPLITS)}, and other "
            "files are",
            "Name every file or its folder by a split, or none.",
        )
    return LocalTexts(
        {split: found[split] for split in SPLITS if found[split]},
        {split: origins[split] for split in SPLITS if found[split]},
    )


def _files(root: Path, given: str) -> list[Path]:
    if root.exists():
        candidates = [root] if root.is_file() else sorted(root.rglob("*"))
        files = [path for path in candidates if path.is_file() and path.suffix in SUFFIXES]
    else:
        raise DataError(
            f"there is no file or folder '{given}'",
            f"`path` is relative to the current directory, {Path.cwd()}.",
        )
    for path in files:
        if path != root and root not in path.resolve().parents:
            raise DataError(f"{path} leads out of {root}", "Copy the file into the folder.")
    if not files:
        raise DataError(
            f"'{given}' holds no file that can be read",
            f"Files end with {', '.join(SUFFIXES)}.",
        )
    return files


def _name(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix()


def _split_of(path: Path) -> str | None:
    """The split that a file or one of its folders is named by, the innermost one."""
    parts = [path.name, *(parent.name for parent in path.parents)]
    return next((found[1] for part in parts if (found := _SPLIT_NAME.match(part))), None)


def _documents(path: Path, column: str) -> Iterator[str]:
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            _check_column(path, column, table.column_names)
            rows = table[column].to_pylist()
        elif path.suffix in (".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            lines = text.splitlines() if path.suffix == ".jsonl" else None
            given = json.loads(text) if lines is None else [json.loads(one) for one in lines if one]
            for row in given:
                _check_column(path, column, list(row))
            rows = [row[column] for row in given]
        else:
            rows = [path.read_text(encoding="utf-8")]
    except (OSError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "Replace the file; texts are UTF-8."
        ) from error
    for index, row in enumerate(rows):
        if not isinstance(row, str):
            raise DataError(
                f"{path}, row {index}: '{column}' is {type(row).__name__}, not text",
                "Name another `column`, or remove the row.",
            )
        yield row


def _check_column(path: Path, column: str, columns: list[str]) -> None:
    if column not in columns:
        raise DataError(f"{path} has no '{column}'", did_you_mean(column, columns))


def _divided(texts: list[str], spec: CorpusSpec) -> dict[str, list[str]]:
    ordered = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())
    sizes = {
        name: max(1, round(share * len(texts))) if share else 0
        for name, share in (("test", spec.test_share), ("validation", spec.validation_share))
    }
    if sum(sizes.values()) >= len(texts):
        raise DataError(
            f"'{spec.path}' holds {len(texts)} documents, too few to divide into {1 + len(sizes)} "
            "splits",
            "Give more documents, set a share to 0, or name files train, validation and test.",
        )
    first, second = sizes["test"], sizes["test"] + sizes["validation"]
    return {
        "test": ordered[:first],
        "validation": ordered[first:second],
        "train": ordered[second:],
    }
