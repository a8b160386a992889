"""Secrets do not get into records: what they are is read from the environment and from their form.

A secret is the value of a variable whose name says so (`WANDB_API_KEY`, `HF_TOKEN`,
`MLFLOW_TRACKING_PASSWORD`), what stands before the `@` of an address, or a token of the hub.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
# shorter ones are words that something else may be called too
_SHORTEST = 8
# each begins with letters that are found fast in a long text
_SHAPES = (
    (re.compile(r"://[^/\s@\"'\\]+@"), f"://{HIDDEN}@"),
    (re.compile(r"hf_[A-Za-z0-9]{20,}"), HIDDEN),
)


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The values of variables whose names say that they are secret, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if _NAMES.search(name) and len(value) >= _SHORTEST
    }
    return sorted(found, key=len, reverse=True)


def redacted(text: str) -> str:
    """A text with three stars in place of every secret of this process' environment.

    Example:
        >>> redacted("cannot reach https://me:hunter22@server/api")
        'cannot reach https://***@server/api'
    """
    for secret in secrets_of(os.environ):
        text = text.replace(secret, HIDDEN)
    for shape, hidden in _SHAPES:
        text = shape.sub(hidden, text)
    return text


def redacted_values(value: Any) -> Any:
    """JSON types with `redacted` texts; keys and numbers are left alone."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: redacted_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(one) for one in value]
    return value


def redacted_json(text: str, *, indent: int | None = None) -> str:
    """JSON whose strings hold no secret; the very same text where there is none.

    Args:
        text: JSON.
        indent: Of the JSON that is written where there is one.
    """
    secrets = (json.dumps(secret)[1:-1] for secret in secrets_of(os.environ))
    has_shape = any(shape.search(text) for shape, _ in _SHAPES)
    if not has_shape and not any(secret in text for secret in secrets):
        return text
    separators = (",", ":") if indent is None else None
    clean = redacted_values(json.loads(text))
    return json.dumps(clean, indent=indent, ensure_ascii=False, separators=separators)
