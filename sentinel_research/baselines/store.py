"""The folder of kept baselines: `FOLDER/SUITE/MODEL@VARIANT.json`, written by `accept` only."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from sentinel_research.baselines.schema import SCHEMA_VERSION, SEPARATOR, Baseline
from sentinel_research.errors import BaselineError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.record import now

DEFAULT_FOLDER = Path("regression_baselines")
_SUFFIX = ".json"
_HINT = "restore the file, or delete it and type: sentinel baseline accept RECORD --why REASON"


def read_baselines(folder: Path, suite: str, model: str) -> list[Baseline]:
    """Everything that is kept of one model, by variant.

    Args:
        folder: Of all suites.
        suite: Folder in it.
        model: As the suite calls it.

    Returns:
        Nothing where nothing is kept.

    Raises:
        BaselineError: for a file that is damaged, of another version, or edited by hand.
    """
    paths = sorted((folder / suite).glob(f"*{SEPARATOR}*{_SUFFIX}"))
    return [_read(path) for path in paths if path.name.partition(SEPARATOR)[0] == model]


def accept(folder: Path, measured: Iterable[Baseline], why: str) -> list[Path]:
    """Keep what was measured of one model in place of all that was kept of it.

    Args:
        folder: Of all suites.
        measured: Every variant of one model.
        why: The reason, not empty.

    Returns:
        The files that were written or deleted; a file whose numbers are the same stays as it is.
    """
    variants = list(measured)
    (suite,) = {one.suite for one in variants}
    (model,) = {one.model for one in variants}
    target = create_folder(folder / suite)
    changed = []
    for one in variants:
        path = target / f"{one.name}{_SUFFIX}"
        stamped = one.model_copy(update={"why": why, "accepted_at": now()})
        if not _is_same(path, stamped):
            write_atomically(path, _text(stamped))
            changed.append(path)
    wanted = {f"{one.name}{_SUFFIX}" for one in variants}
    for path in sorted(target.glob(f"*{SEPARATOR}*{_SUFFIX}")):
        if path.name.partition(SEPARATOR)[0] == model and path.name not in wanted:
            path.unlink()
            changed.append(path)
    return changed


def _is_same(path: Path, one: Baseline) -> bool:
    """Whether a file keeps the same already, whatever the reason and the packages then."""
    if not path.exists():
        return False
    stamps = {"why", "accepted_at", "versions", "content_sha256"}
    return _read(path).model_dump(exclude=stamps) == one.model_dump(exclude=stamps)


def _text(one: Baseline) -> str:
    sealed = one.model_copy(update={"content_sha256": one.hashed()})
    return json.dumps(sealed.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def _read(path: Path) -> Baseline:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"cannot read the baseline {path}: {error}", _HINT) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BaselineError(
            f"{path} has schema version {version}, this package reads {SCHEMA_VERSION}", _HINT
        )
    try:
        found = Baseline.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BaselineError(f"{path}: `{where}`: {first['msg']}", _HINT) from error
    if f"{found.name}{_SUFFIX}" != path.name or found.suite != path.parent.name:
        raise BaselineError(f"{path} holds the baseline {found.suite}/{found.name}", _HINT)
    if found.hashed() != found.content_sha256:
        raise BaselineError(
            f"{path} was edited by hand: its content is not what was accepted", _HINT
        )
    return found
