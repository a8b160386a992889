"""The one loader for datasets: a local mirror first, then the Hugging Face hub.

A mirror is a folder laid out as hub repositories (`<mirror>/<org>/<name>`), each as the hub serves
it or as `hf download` wrote it. It is named by an argument or by the variable `SENTINEL_DATA`.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import datasets

from sentinel_research.data.provenance import Provenance, attach, hash_strings
from sentinel_research.errors import DataError, UsageError

VARIABLE = "SENTINEL_DATA"

_LOG = logging.getLogger(__name__)
# no part may start with a dot, so that a name cannot leave the mirror
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# the only expression that a stream can serve: rows from one on to another
_ROWS = re.compile(r"(\w+)\[(\d*):(\d+)\]")
_REVISION = re.compile(r"^hf://datasets/[^@]+@([0-9a-f]{40})/")
# what datasets and huggingface_hub raise for a dataset that cannot be had
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)


def use_mirror(path: str | os.PathLike[str]) -> Path:
    """Make a folder the mirror of this process and its children, lm-eval's tasks included.

    Args:
        path: The mirror folder.

    Returns:
        Its absolute path, now in the variable `SENTINEL_DATA`.

    Raises:
        UsageError: if it is not a folder.
    """
    folder = _existing(Path(path), "data")
    os.environ[VARIABLE] = str(folder)
    return folder


def mirror_folder(data: str | os.PathLike[str] | None = None) -> Path | None:
    """The mirror in use: `data` if given, else the variable `SENTINEL_DATA`, else None.

    Raises:
        UsageError: if that is not a folder.
    """
    if data is not None:
        return _existing(Path(data), "data")
    if os.environ.get(VARIABLE):
        return _existing(Path(os.environ[VARIABLE]), VARIABLE)
    return None


def has_repository(repo_id: str, *, data: str | os.PathLike[str] | None = None) -> bool:
    """Whether the mirror in use has a folder for this repository."""
    mirror = mirror_folder(data)
    return mirror is not None and (mirror / _checked(repo_id)).is_dir()


def load(
    repo_id: str, config: str | None, split: str, *, data: str | os.PathLike[str] | None = None
) -> datasets.Dataset:
    """Load one split of a dataset, from the mirror if it is there, else from the hub.

    With `HF_HUB_OFFLINE=1` the hub means only what its local cache holds.

    Args:
        repo_id: Hub name, `org/name`.
        config: Configuration of the dataset; None is its default one.
        split: Split expression, for example `test` or `train[:300]`.
        data: Mirror folder, instead of `SENTINEL_DATA`.

    Returns:
        The rows, at least one; `provenance_of` tells where they came from.

    Raises:
        UsageError: if the mirror is not a folder or `repo_id` not a name.
        DataError: if neither place has the split, or it is damaged or empty.

    Example:
        >>> load("nyu-mll/glue", "mrpc", "test", data="../shared/hub")  # doctest: +SKIP
    """
    _checked(repo_id)
    mirror = mirror_folder(data)
    if mirror is None:
        return _load_hub(repo_id, config, split, f"no mirror is set ({VARIABLE})", mirror)
    found = _builder(mirror / repo_id, config, split)
    if isinstance(found, str):
        _LOG.warning("mirror %s: %s; trying the hub", mirror, found)
        return _load_hub(repo_id, config, split, f"the mirror {mirror}: {found}", mirror)
    return _load_mirror(mirror / repo_id, repo_id, found, config, split)


def stream(repo_id: str, config: str | None, split: str) -> datasets.Dataset:
    """Rows of a split of the hub with their provenance, without fetching those after them.

    Args:
        repo_id: Hub name, `org/name`.
        config: Configuration of the dataset; None is its default one.
        split: Split with the rows to read, for example `validation[1800:2000]`.

    Raises:
        UsageError: if `split` names no rows.
        DataError: if the hub cannot be reached, or has fewer rows.
    """
    match = _ROWS.fullmatch(split)
    if match is None:
        raise UsageError(f"'{split}' cannot be streamed", "Name rows, as in validation[:200].")
    name, start, end = match.group(1), int(match.group(2) or 0), int(match.group(3))
    try:
        found = datasets.load_dataset(_checked(repo_id), config, split=name, streaming=True)
        rows = list(found.skip(start).take(end - start))
    except _LOAD_ERRORS as error:
        raise DataError(
            f"{repo_id}, config {config}, split {split} cannot be streamed from the hub: {error}",
            f"Go online, or name a mirror that holds it by {VARIABLE}.",
        ) from error
    if len(rows) != end - start:
        raise DataError(
            f"{repo_id} on the hub has {len(rows)} rows of {split}, not {end - start}",
            "Name rows that exist.",
        )
    dataset = datasets.Dataset.from_list(rows)
    provenance = Provenance(
        source="hub",
        repo_id=repo_id,
        config=config,
        split=split,
        num_documents=len(dataset),
        text_sha256=hash_strings(dataset),
    )
    return attach(dataset, provenance)


def _existing(folder: Path, origin: str) -> Path:
    if not folder.is_dir():
        raise UsageError(
            f"{origin} names '{folder}', which is not a folder",
            "Give a folder laid out as hub repositories, <folder>/<org>/<name>.",
        )
    return folder.resolve()


def _checked(repo_id: str) -> str:
    if not _REPO_ID.fullmatch(repo_id):
        raise UsageError(f"'{repo_id}' is not a dataset name", "Give org/name as on the hub.")
    return repo_id


def _split_names(split: str) -> set[str]:
    """The splits that an expression such as `train[:300]+test` names."""
    return {part.strip().split("[")[0] for part in split.split("+")}


def _builder(folder: Path, config: str | None, split: str) -> datasets.DatasetBuilder | str:
    """What reads a folder of the mirror; or, as text, what it lacks and what it has instead.

    One builder serves everything: each reads the card anew, which takes a quarter of a second for
    the 58 configurations of MMLU.
    """
    if not folder.is_dir():
        return f"it has no folder {folder.name}"
    try:
        builder = datasets.load_dataset_builder(str(folder), config)
    except _LOAD_ERRORS as error:
        lack = _lacking_config(folder, config)
        if lack:
            return lack
        raise _damaged(folder, error) from error
    splits = [str(name) for name in builder.config.data_files or {}]
    missing = [name for name in _split_names(split) if name not in splits]
    if missing:
        has = ", ".join(splits) or "none"
        name = config or builder.config.name
        return f"split '{missing[0]}' of '{name}' is missing, it has: {has}"
    return builder


def _lacking_config(folder: Path, config: str | None) -> str:
    """That a configuration is missing, and which there are; empty if it is there."""
    try:
        configs = datasets.get_dataset_config_names(str(folder))
    except _LOAD_ERRORS as error:
        raise _damaged(folder, error) from error
    if config is None or config in configs:
        return ""
    return f"config '{config}' is missing, it has: {', '.join(configs)}"


def _load_mirror(
    folder: Path, repo_id: str, builder: datasets.DatasetBuilder, config: str | None, split: str
) -> datasets.Dataset:
    try:
        checksums = _checksums(builder.config.data_files or {}, folder)
        # datasets 5.2 names its cache by folder and README alone and would serve replaced files'
        # old rows, or another mirror's: we name it by content
        content = hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()
        cache = Path(datasets.config.HF_DATASETS_CACHE) / "sentinel_research" / content[:32]
        place = cache / f"{repo_id.replace('/', '___')}-{builder.config.name}"
        builder.download_and_prepare(output_dir=str(place))
        dataset = builder.as_dataset(split=split)
    except ValueError as error:
        # the files were read: the expression selects nothing, or is none
        raise DataError(
            f"split {split} of {folder}: {error}", "Choose rows that exist, as in train[:300]."
        ) from error
    except _LOAD_ERRORS as error:
        raise _damaged(folder, error) from error
    wanted = _split_names(split)
    files = {
        name: checksum
        for of_split, found in checksums.items()
        if of_split in wanted
        for name, checksum in found.items()
    }
    provenance = Provenance(
        source="mirror",
        repo_id=repo_id,
        config=config,
        split=split,
        num_documents=len(_not_empty(dataset, split, str(folder))),
        text_sha256=hash_strings(dataset),
        files=files,
    )
    return attach(dataset, provenance)


def _load_hub(
    repo_id: str, config: str | None, split: str, lack: str, mirror: Path | None
) -> datasets.Dataset:
    if Path(repo_id).is_dir():
        # datasets would read that folder and call it the hub
        raise UsageError(
            f"the folder '{repo_id}' in the current directory hides the dataset on the hub",
            f"Set {VARIABLE}=. to use the current directory as a mirror, or change directory.",
        )
    offline = " (offline: HF_HUB_OFFLINE is set)" if datasets.config.HF_HUB_OFFLINE else ""
    try:
        files = datasets.load_dataset_builder(repo_id, config).config.data_files
        dataset = datasets.load_dataset(repo_id, config, split=split)
    except _LOAD_ERRORS as error:
        target = f"{mirror or 'MIRROR'}/{repo_id}"
        raise DataError(
            f"{repo_id}, config {config}, split {split} cannot be loaded: {lack}; "
            f"the hub{offline}: {error}",
            f"Fetch it: hf download --repo-type dataset {repo_id} --local-dir {target}"
            + ("" if mirror else f" and set {VARIABLE}=MIRROR"),
        ) from error
    paths = [str(path) for of_split in (files or {}).values() for path in of_split]
    match = _REVISION.match(paths[0]) if paths else None
    provenance = Provenance(
        source="hub",
        repo_id=repo_id,
        config=config,
        split=split,
        num_documents=len(_not_empty(dataset, split, f"{repo_id} on the hub")),
        text_sha256=hash_strings(dataset),
        revision=match.group(1) if match else None,
    )
    return attach(dataset, provenance)


def _not_empty(dataset: datasets.Dataset, split: str, place: str) -> datasets.Dataset:
    if len(dataset) == 0:
        raise DataError(
            f"split {split} of {place} is empty", "Replace its file, or choose another split."
        )
    return dataset


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(
        f"{folder} cannot be read: {error}",
        "Delete the folder and fetch it again: hf download --repo-type dataset ORG/NAME "
        f"--local-dir {folder}",
    )


def _checksums(data_files: Mapping[str, Iterable[str]], folder: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of each file by its name in the repository, for each split."""
    return {
        str(split): {
            Path(path).relative_to(folder).as_posix(): hashlib.sha256(
                Path(path).read_bytes()
            ).hexdigest()
            for path in paths
        }
        for split, paths in data_files.items()
    }
