"""Checkpoint folders: find and check them, and write them atomically.

Only safetensors is read or written: the older pickle format can run code when it is loaded.
"""

import difflib
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models.hooks import refuse_hooks
from sentinel_research.models.safetensors_header import check_safetensors

MODELS_VARIABLE = "SENTINEL_MODELS"
"""Environment variable naming a folder of checkpoints that are then found by their name."""

_DEFAULT_REVISION = "main"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_BLOCK_BYTES = 1 << 20
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja"]


def find_folder(name: str, revision: str = "main") -> Path:
    """The local folder of a checkpoint, downloaded from the hub if it is a hub id.

    Args:
        name: Local folder, the name of one in the folder `SENTINEL_MODELS`, or hub id.
        revision: Hub revision; a folder has none but `main`.

    Returns:
        The folder; what is in it has not been checked.

    Raises:
        UsageError: for a revision of a folder.
        CheckpointError: if there is no such folder and no such hub repository, or the hub cannot
            be reached.
    """
    path = Path(name).expanduser()
    folder = path if path.is_dir() else _in_collection(path)
    if folder is not None and revision != _DEFAULT_REVISION:
        raise UsageError(
            f"revision '{revision}' was asked for of {folder}, and a folder has no revisions",
            "leave the revision out, or give the id of a hub repository",
        )
    if folder is not None:
        return folder
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointError(f"no model folder at {path}", _nearby(path))
    try:
        snapshot = snapshot_download(
            name, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=["*/*"]
        )
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"'{name}' is neither a local folder nor in the hub cache, and the hub is out of reach",
            f"{_nearby(path)} For a hub id: unset HF_HUB_OFFLINE and check the network, or "
            f"download it elsewhere with `hf download {name}` and give the folder.",
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise CheckpointError(
            f"'{name}' (revision '{revision}') is neither a local folder nor a readable hub "
            f"repository: {str(error).splitlines()[0]}",
            _nearby(path),
        ) from error
    return Path(snapshot)


def _in_collection(path: Path) -> Path | None:
    """The folder of that name in the collection of checkpoints that `SENTINEL_MODELS` names."""
    collection = os.environ.get(MODELS_VARIABLE)
    if not collection or path.is_absolute() or ".." in path.parts:
        return None
    folder = Path(collection) / path
    return folder if folder.is_dir() else None


def _nearby(path: Path) -> str:
    collection = os.environ.get(MODELS_VARIABLE)
    parent = path.parent
    if collection and not parent.is_absolute() and len(path.parts) == 1:
        parent = Path(collection)
    if not parent.is_dir():
        return f"The folder {parent} does not exist either."
    siblings = sorted(entry.name for entry in parent.iterdir() if (entry / "config.json").is_file())
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.6)
    question = f"Did you mean '{parent / near[0]}'? " if near else ""
    return f"{question}Model folders in {parent.absolute()}: {', '.join(siblings) or 'none'}."


def check_checkpoint(name: str | Path, revision: str = "main") -> list[Path]:
    """Check that a folder holds a complete safetensors checkpoint, without loading it.

    Args:
        name: Local folder, or hub id, which is downloaded.
        revision: Hub revision; a folder has none but `main`.

    Returns:
        Its weight files.

    Raises:
        UsageError: for a revision of a folder.
        CheckpointError: if the folder, its configuration or a weight file is missing, if it holds
            only pickled weights, or if a weight file is cut off or damaged.
    """
    folder = find_folder(str(name), revision)
    read_json(folder / "config.json")
    files = _weight_files(folder)
    for file in files:
        check_safetensors(file)
    return files


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        pickled = sorted(
            entry.name for entry in folder.iterdir() if entry.suffix in (".bin", ".pt")
        )
        if pickled:
            raise CheckpointError(
                f"{folder} holds only pickled weights ({', '.join(pickled)}), which can run code",
                "Convert once where you trust them: AutoModelForCausalLM.from_pretrained(folder)"
                ".save_pretrained(new_folder)",
            )
        raise CheckpointError(f"{folder} holds no {_WEIGHTS}", "Is the copy complete?")
    index = read_json(folder / _INDEX)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{folder / _INDEX} has no `weight_map`", "Copy the file again.")
    files = [folder / name for name in sorted(set(weight_map.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of {len(files)} weight files: {', '.join(missing)}",
            "Is the copy complete?",
        )
    return files


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object of a checkpoint folder.

    Raises:
        CheckpointError: if the file is missing or holds anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.parent} holds no {path.name}", "Is it a model folder?")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}", "Copy the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object", "Copy the file again.")
    return content


def hash_files(files: list[Path]) -> dict[str, str]:
    """SHA-256 of every file's content, by file name."""
    hashes = {}
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        hashes[path.name] = digest.hexdigest()
    return hashes


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    overwrite: bool = False,
) -> Path:
    """Write model and tokenizer to a folder that appears complete or not at all.

    Args:
        model: Dense or pruned model, without masks.
        tokenizer: The model's tokenizer.
        folder: Where to; its parent is made if needed.
        overwrite: Replace an existing folder; without it that is an error.

    Returns:
        The folder.

    Raises:
        UsageError: if the folder exists and `overwrite` is off, or the model carries masks.
    """
    target = Path(folder)
    refuse_hooks(model, "saved")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", "Choose another folder, or allow overwriting.")
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    temporary = target.with_name(f".{target.name}.{token}.tmp")
    try:
        model.save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)
        check_checkpoint(temporary)
        if target.exists():
            old = target.with_name(f".{target.name}.{token}.old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target
