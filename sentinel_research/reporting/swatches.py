"""Samples of lines and markers for the legend of a page, drawn as matplotlib draws them."""

from sentinel_research.reporting.svg import PAGE_COLOURS, Arm

_DASHES = {"--": "5 3", "-.": "6 2.5 1.5 2.5", ":": "2 2.5"}
_SHAPES = {
    "o": "M10 7a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "s": "M10.5 3.5h7v7h-7z",
    "^": "M14 2.5l4.5 8h-9z",
    "v": "M14 11.5l4.5 -8h-9z",
    "D": "M14 2l5 5l-5 5l-5 -5z",
    "P": "M12.5 3h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z",
    "X": "M10.5 5l2 -2l1.5 1.5l1.5 -1.5l2 2l-1.5 2l1.5 2l-2 2l-1.5 -1.5l-1.5 1.5l-2 -2l1.5 -2z",
    "h": "M14 2.5l4 2.25v4.5l-4 2.25l-4 -2.25v-4.5z",
    "*": "M14 1.5l1.6 3.8l4 .3l-3.1 2.6l1 4l-3.5 -2.2l-3.5 2.2l1 -4l-3.1 -2.6l4 -.3z",
    "x": "M10.5 3.5l7 7m0 -7l-7 7",
    "_": "M9 7h10",
}
_STROKED = ("x", "_")


def swatch(arm: Arm) -> str:
    """A sample of an arm's line and marker, as an `<svg>` element of 28 by 14 pixels."""
    colour = PAGE_COLOURS.get(arm.colour, arm.colour)
    parts = []
    if arm.line:
        dashes = _DASHES.get(arm.line, "")
        parts.append(
            f'<path d="M1 7H27" fill="none" stroke="{colour}" stroke-width="2"'
            f"{f' stroke-dasharray={chr(34)}{dashes}{chr(34)}' if dashes else ''}/>"
        )
    if arm.marker in _SHAPES:
        is_line = arm.marker in _STROKED
        paint = f'fill="none" stroke="{colour}" stroke-width="2"' if is_line else f'fill="{colour}"'
        parts.append(f'<path d="{_SHAPES[arm.marker]}" {paint}/>')
    return (
        '<svg class="swatch" width="28" height="14" viewBox="0 0 28 14" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )
