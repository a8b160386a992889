"""Where a dataset came from, carried inside the dataset so that a run record can store it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from datasets import Dataset, Value

from sentinel_research.errors import DataError

_KEY = "sentinel_provenance"


@dataclass(frozen=True)
class Provenance:
    """Where a dataset came from and what exactly it held when it was loaded."""

    source: Literal["mirror", "hub", "gutenberg", "synthetic", "files"]
    """`mirror`: a local folder; `hub`: the Hugging Face hub or its local cache; `gutenberg`:
    downloaded from Project Gutenberg; `synthetic`: generated here, not natural language; `files`:
    the user's own."""
    repo_id: str
    """Hub repository, a description of the generator, or the path of files."""
    config: str | None
    """Configuration of the repository."""
    split: str
    """The split expression that was loaded, for example `train[:300]`."""
    num_documents: int
    """Rows of the dataset."""
    text_sha256: str
    """`hash_texts` over the rows: the texts of a corpus, all string columns of other datasets."""
    revision: str | None = None
    """Hub commit, where it is known."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file read, by its name below the repository or path (not hub, synthetic)."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Documents that filters left out of the split, by their reason."""


def hash_texts(texts: Iterable[str]) -> str:
    """SHA-256 over texts in their order, each preceded by its length in UTF-8 bytes.

    Example:
        >>> hash_texts(["ab", "c"]) == hash_texts(["a", "bc"])
        False
    """
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)
    return digest.hexdigest()


def hash_strings(dataset: Dataset) -> str:
    """`hash_texts` over all string columns of a dataset, row by row."""
    columns = [
        name
        for name, feature in dataset.features.items()
        if isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    ]
    rows = dataset.select_columns(columns) if columns else []
    # a missing value is not the same as an empty one
    return hash_texts("\0" if row[name] is None else row[name] for row in rows for name in columns)


def attach(dataset: Dataset, provenance: Provenance) -> Dataset:
    """Store a provenance in a dataset's description and return the same dataset."""
    dataset.info.description = json.dumps({_KEY: asdict(provenance)}, sort_keys=True)
    return dataset


def has_provenance(dataset: Dataset) -> bool:
    """Whether a dataset was loaded by this project."""
    return _KEY in (dataset.info.description or "")


def provenance_of(dataset: Dataset) -> Provenance:
    """The provenance of a dataset that this project loaded.

    Rows selected or mapped afterwards keep the provenance of the dataset they were taken from.

    Raises:
        DataError: if the dataset was loaded in another way.
    """
    if not has_provenance(dataset):
        raise DataError(
            "a dataset without provenance",
            "Load it with sentinel_research.data.mirror.load or corpora.load_corpus.",
        )
    return Provenance(**json.loads(dataset.info.description)[_KEY])
