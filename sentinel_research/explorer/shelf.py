"""Measurements of a model that are kept for the next start, in the user's cache folder.

A file is named by everything that its numbers depend on, so that nothing in it can be out of date.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sentinel_research.data.task_index import cache_folder
from sentinel_research.errors import StorageError
from sentinel_research.files import write_atomically

_FORMAT = 1


class Shelf:
    """Arrays by what they depend on.

    Args:
        folder: Where they are kept; the user's cache folder by default.
        told: Gets what a person should know: of damaged files, and of a folder that cannot be
            written. Neither stops anything, since all of it can be measured again.
    """

    def __init__(
        self, folder: Path | None = None, told: Callable[[str], object] = lambda _: None
    ) -> None:
        self.folder = cache_folder() / "explore" if folder is None else folder
        self._told = told
        self._is_refused = False

    def path(self, **depends_on: object) -> Path:
        """The file of what depends on these values."""
        text = json.dumps({"format": _FORMAT, **depends_on}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def find(self, path: Path) -> dict[str, np.ndarray] | None:
        """What is kept there; None where there is nothing that can be read."""
        if not path.is_file():
            return None
        try:
            return load(path.read_bytes())
        except (OSError, SafetensorError) as error:
            self._told(f"{path} cannot be read ({error}): it is measured anew")
            return None

    def keep(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays for the next start."""
        if self._is_refused:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(
                path, save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
            )
        except (OSError, StorageError) as error:
            self._is_refused = True
            first = str(error).splitlines()[0]
            self._told(f"nothing is kept for the next start: {first}")
