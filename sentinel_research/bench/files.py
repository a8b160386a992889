"""Read, check and write the file of `sentinel bench`."""

import json
from pathlib import Path

from pydantic import ValidationError

from sentinel_research.bench.schema import SpeedFile
from sentinel_research.errors import UsageError
from sentinel_research.files import create_folder, write_atomically


def read_file(path: Path, empty: SpeedFile) -> SpeedFile:
    """Read a file that new sections are about to join, and prove that it can be written.

    Args:
        path: Where it is, or will be.
        empty: Device and size of what joins.

    Returns:
        Its content; `empty` if there is none yet.

    Raises:
        UsageError: if it is not such a file, or of another device or size.
    """
    hint = "choose another --output"
    create_folder(path.parent)
    if not path.exists():
        return empty
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint) from error
    found = parse_file(text, path)
    for field in ("device", "size"):
        theirs, ours = getattr(found, field), getattr(empty, field)
        if theirs != ours:
            raise UsageError(f"{path} is of {field} '{theirs}', this run of '{ours}'", hint)
    return found


def parse_file(text: str, path: Path) -> SpeedFile:
    """The content of a file.

    Args:
        text: JSON.
        path: Where it was read, for the message.

    Raises:
        UsageError: if it is no such file.
    """
    try:
        return SpeedFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(
            f"{path} is no speed file: {where}: {first['msg']}", "choose another --output"
        ) from error


def write_file(path: Path, content: SpeedFile) -> None:
    """Write the file atomically."""
    write_atomically(path, to_json(content))


def to_json(content: SpeedFile) -> str:
    """The file's text: sections that were not measured are left out."""
    data = content.model_dump(mode="json", exclude_none=False)
    kept = {key: value for key, value in data.items() if value is not None}
    return json.dumps(kept, indent=1, allow_nan=False) + "\n"
