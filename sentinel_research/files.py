"""Files and folders of runs: written whole or not at all."""

import errno
import os
import secrets
import tempfile
from pathlib import Path

from sentinel_research.errors import StorageError, UsageError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader or a crash never sees half of it.

    Args:
        path: The file, in an existing folder.
        content: Its whole content; text is written as UTF-8.

    Raises:
        StorageError: if the folder cannot be written or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}",
            "free space or choose another folder with --output; the same command resumes",
        ) from error


def create_folder(folder: Path) -> Path:
    """Create a run folder and prove that it can be written.

    Raises:
        UsageError: if it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-test-"):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to the output folder {folder}: {error.strerror}",
            "choose a writable folder with --output DIR",
        ) from error
    return folder


def is_full(error: BaseException) -> bool:
    """Whether an error of any library says that a disk is full, or a quota is used up.

    safetensors gives the system's words and no number.
    """
    codes = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in codes
    return any(os.strerror(code) in str(error) for code in codes)
