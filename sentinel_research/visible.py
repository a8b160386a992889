"""Text of others made visible: what a model wrote, or a file holds, must not steer who shows it."""

import re

# controls that steer a terminal, and marks that turn the direction of what follows; lines and
# tabs stay
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PICTURES = 0x2400
_PICTURE_OF_DELETE = "\u2421"


def visible(text: str) -> str:
    """`text` with a sign in place of every character that would act and not be seen.

    Args:
        text: Any; line breaks and tabs stay.

    Example:
        >>> visible("a\\x1b[2Jb\\x07")
        'a␛[2Jb␇'
        >>> visible("\\u202edrawkcab")
        '<U+202E>drawkcab'
    """
    return _STEERING.sub(lambda found: _sign(found[0]), text)


def _sign(letter: str) -> str:
    code = ord(letter)
    if code < 0x20:
        return chr(_PICTURES + code)
    return _PICTURE_OF_DELETE if code == 0x7F else f"<U+{code:04X}>"
