"""Values with their intervals: as bars in a figure, and in words."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from sentinel_research.reporting.estimates import Estimate
from sentinel_research.reporting.numbers import number


def draw_intervals(
    axes: Axes, points: Sequence[tuple[float, Estimate | None]], colour: str, name: str
) -> None:
    """Draw the intervals of the points of one curve, with ids that `interval_parts` lists.

    Args:
        axes: Where.
        points: Place on the horizontal axis, and what was measured; what has no interval is left
            out.
        colour: Of the curve.
        name: Of the curve, for the ids.
    """
    known = [(place, found) for place, found in points if found is not None and found.interval]
    if not known:
        return
    values = [found.value for _, found in known]
    ends = [found.interval for _, found in known if found.interval]
    errors = [
        [value - end.low for value, end in zip(values, ends, strict=True)],
        [end.high - value for value, end in zip(values, ends, strict=True)],
    ]
    places = [place for place, _ in known]
    drawn = axes.errorbar(
        places, values, errors, fmt="none", ecolor=colour, capsize=3, elinewidth=1
    )
    artists = [artist for artist in drawn.get_children() if artist is not None]
    for artist, part in zip(artists, interval_parts(name), strict=True):
        artist.set_gid(part)


def interval_parts(name: str) -> tuple[str, ...]:
    """Ids of the intervals of a curve: both caps, and the bars."""
    return (f"low-{name}", f"high-{name}", f"bars-{name}")


def has_interval(found: Estimate | None) -> bool:
    """Whether there is an interval to draw."""
    return found is not None and found.interval is not None


def in_full(found: Estimate) -> str:
    """A value with its interval, and what that covers."""
    if found.interval is None:
        return number(found.value)
    low, high = number(found.interval.low), number(found.interval.high)
    if found.over == "masks":
        return f"{number(found.value)}, median of {found.num_cells} masks from {low} to {high}"
    over = "calibration seeds" if found.over == "calibration" else "documents"
    return f"{number(found.value)} (95% over {over}: {low} to {high})"
