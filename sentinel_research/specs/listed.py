"""Flags with several values, as they were published."""

from typing import Any


def listed(value: Any) -> Any:
    """Values behind one flag, with commas or with spaces between them.

    Example:
        >>> listed("0.1, 0.2")
        ['0.1', '0.2']
    """
    if not isinstance(value, str | list | tuple):
        return value
    words = [value] if isinstance(value, str) else value
    return [
        part.strip() if isinstance(part, str) else part
        for word in words
        for part in (word.split(",") if isinstance(word, str) else [word])
    ]
