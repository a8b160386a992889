"""The index of lm-eval's own tasks, kept between processes: reading 14,000 files takes seconds.

Kept are name, kind, file and tags of each entry, as JSON in the user's cache folder; a task that is
asked for is read from its own file, as lm-eval does. The index belongs to one state of one folder:
lm-eval's release, the folder's path, and names, bytes and latest change of its files. Any other
state is indexed anew.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
from pathlib import Path
from typing import Any

from sentinel_research.errors import SentinelError
from sentinel_research.files import write_atomically

FILE_NAME = "lm_eval_tasks.json"
"""Of the index, in the cache folder."""

_LOG = logging.getLogger(__name__)
# what lm-eval does not read, and python writes into
_IGNORED = ("__pycache__", ".ipynb_checkpoints")


def default_index() -> dict[str, Any]:
    """The entries (`lm_eval.tasks._index.Entry`) of lm-eval's own tasks, groups and tags by name.

    They are read once for each state of lm-eval's folder. An index that cannot be read is made
    anew, one that cannot be kept is made every time; both are said in the log.
    """
    import lm_eval.tasks
    from lm_eval.tasks._index import TaskIndex

    root = Path(lm_eval.tasks.__file__).parent
    try:
        file = cache_folder() / FILE_NAME
    except RuntimeError as error:
        _LOG.warning("the index of lm-eval's tasks is not kept: %s", error)
        return dict(TaskIndex.build([root]))
    state = _state(root)
    found = _kept(file, state, root)
    if found is None:
        found = TaskIndex.build([root])
        _keep(file, state, root, found)
    return found


def cache_folder() -> Path:
    """Where the user's programs keep what they can make again, by the rules of freedesktop.org.

    Raises:
        RuntimeError: for a user without a home.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # a relative one is to be ignored
    base = named if named.is_absolute() else Path.home() / ".cache"
    return base / "sentinel_research"


def _state(root: Path) -> dict[str, Any]:
    """What tells one content of a folder from another without reading its files."""
    num_bytes = latest = 0
    digest = hashlib.sha256()
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in _IGNORED)
        digest.update("\0".join([folder, *sorted(names), "\0"]).encode())
        for name in names:
            found = Path(folder, name).stat()
            num_bytes, latest = num_bytes + found.st_size, max(latest, found.st_mtime_ns)
    return {
        "format": 1,
        "lm_eval": importlib.metadata.version("lm_eval"),
        "names_sha256": digest.hexdigest(),
        "num_bytes": num_bytes,
        "latest_change_ns": latest,
    }


def _kept(file: Path, state: dict[str, Any], root: Path) -> dict[str, Any] | None:
    """The index of that state; None if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["state"] != state:
            return None
        return {entry[0]: _entry(root, *entry) for entry in content["entries"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s cannot be read (%s): lm-eval's tasks are indexed anew", file, error)
        return None


def _entry(root: Path, name: str, kind: str, path: str | None, tags: list[str]) -> Any:
    from lm_eval.tasks._index import Entry, Kind

    if path is None:
        return Entry(name, Kind[kind], None, None, set(tags))
    # the file names code that is run
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path} is not below {root}")
    return Entry(name, Kind[kind], root / path, None, set(tags))


def _keep(file: Path, state: dict[str, Any], root: Path, index: dict[str, Any]) -> None:
    entries = [
        [
            name,
            entry.kind.name,
            None if entry.yaml_path is None else entry.yaml_path.relative_to(root).as_posix(),
            sorted(entry.tags),
        ]
        for name, entry in index.items()
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"state": state, "entries": entries}))
    except (OSError, SentinelError) as error:
        _LOG.warning("the index of lm-eval's tasks is not kept: %s", str(error).splitlines()[0])
