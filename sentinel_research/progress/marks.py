"""What stands before a line: signs where the terminal shows them, words elsewhere."""

import os
from typing import Literal, TextIO

Mark = Literal["done", "failed", "warning", "tracked"]
_SIGNS: dict[Mark, str] = {
    "done": "\N{WHITE HEAVY CHECK MARK}",
    "failed": "\N{CROSS MARK}",
    # with the selector that asks for the coloured form
    "warning": "\N{WARNING SIGN}\N{VARIATION SELECTOR-16} ",
    "tracked": "\N{SATELLITE ANTENNA}",
}
# terminals that have no signs beyond letters
_PLAIN_TERMINALS = frozenset({"", "dumb", "linux", "unknown"})


def shows_signs(*, is_terminal: bool, encoding: str | None, name: str | None = None) -> bool:
    """Whether a terminal shows emoji.

    Args:
        is_terminal: Whether it is one at all.
        encoding: Of what is written to it.
        name: Of its kind, as in the variable TERM, which it is by default.
    """
    kind = os.environ.get("TERM", "") if name is None else name
    if not is_terminal or kind in _PLAIN_TERMINALS:
        return False
    try:
        "".join(_SIGNS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def stream_shows_signs(stream: TextIO) -> bool:
    """Whether what is written to a stream comes to a terminal that shows emoji."""
    return shows_signs(is_terminal=stream.isatty(), encoding=getattr(stream, "encoding", None))


def with_mark(message: str, mark: Mark | None, *, signs: bool) -> str:
    """A line with what stands before it.

    Args:
        message: The line.
        mark: Of which kind it is; None leaves it as it is.
        signs: Whether signs can be shown, else words stand there.

    Example:
        >>> with_mark("dense: perplexity 5", "done", signs=False)
        'done: dense: perplexity 5'
    """
    if mark is None:
        return message
    return f"{_SIGNS[mark]} {message}" if signs else f"{mark}: {message}"


def printable(text: str) -> str:
    r"""A text in which nothing moves a cursor, changes a colour or turns a direction.

    Args:
        text: Anything, such as what a model wrote.

    Returns:
        The text with every character that is not printable as Python writes it in a literal.

    Example:
        >>> printable("a\x1b[2Jb\nc")
        'a\\x1b[2Jb\\nc'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
