"""Quality against cost, with the front of what nothing else beats in both (Pareto)."""

from collections.abc import Sequence
from typing import NamedTuple

from sentinel_research.reporting.figures import use_plain_log
from sentinel_research.reporting.plots.values import (
    Spread,
    add_legend,
    draw_bars,
    look_of,
    new_canvas,
    plain,
)
from sentinel_research.reporting.svg import (
    INK,
    Arm,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)
from sentinel_research.reporting.tables import Cell, Table

_SIZE_INCHES = (5.6, 4.3)
FRONT = "front"
_LOG_RATIO = 10


class Place(NamedTuple):
    """One model."""

    arm: str
    name: str
    cost: Spread
    """Less is better."""
    quality: Spread


def front_of(places: Sequence[Place], higher_is_better: bool) -> list[Place]:
    """The models that no other beats or equals in cost and quality and exceeds in one, by cost.

    Args:
        places: Any; only the values are compared, not their intervals.
        higher_is_better: Direction of the quality.
    """
    sign = -1.0 if higher_is_better else 1.0
    found: list[Place] = []
    for one in sorted(places, key=lambda place: (place.cost.value, sign * place.quality.value)):
        if not found or sign * one.quality.value < sign * found[-1].quality.value:
            found.append(one)
    return found


def draw_front(
    places: Sequence[Place],
    *,
    name: str,
    title: str,
    cost: str,
    quality: str,
    higher_is_better: bool,
    synthetic_data: bool,
) -> Drawing:
    """Draw every model by its cost and its quality, and the front as steps.

    Args:
        places: At least two: one model has nothing to be traded for.
        name: Of the file, without suffix.
        title: What is shown.
        cost: Name of the horizontal axis, less is better.
        quality: Name of the vertical axis.
        higher_is_better: Direction of the quality.
        synthetic_data: Whether to mark the figure.

    Raises:
        ValueError: for fewer than two models.
    """
    if len(places) < 2:
        raise ValueError(f"{title}: fewer than two models were measured: there is no front")
    best = front_of(places, higher_is_better)
    arms = list(dict.fromkeys(place.arm for place in places))
    chosen, labels = [], {}
    with drawing_style():
        figure = new_canvas(*_SIZE_INCHES, title, synthetic_data)
        axes = figure.add_subplot()
        axes.grid()
        axes.set_axisbelow(True)
        values = [place.quality.value for place in places]
        if min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
            use_plain_log(axes)
        axes.step(
            [place.cost.value for place in best],
            [place.quality.value for place in best],
            where="post",
            color=INK,
            linestyle="--",
            linewidth=1.3,
            label=FRONT,
            gid=FRONT,
        )
        for index, arm in enumerate(arms):
            look, own = look_of(arm, arms), [place for place in places if place.arm == arm]
            gid = f"models-{index}"
            axes.plot(
                [place.cost.value for place in own],
                [place.quality.value for place in own],
                linestyle="",
                marker=look.marker,
                markersize=9 if look.marker == "*" else 6.5,
                color=look.colour,
                label=printable(arm),
                gid=gid,
            )
            upright = [(place.cost.value, place.quality) for place in own]
            across = [(place.quality.value, place.cost) for place in own]
            parts = draw_bars(axes, upright, look.colour, f"{gid}-up", is_across=False)
            parts += draw_bars(axes, across, look.colour, f"{gid}-across", is_across=True)
            labels[gid] = [_says(place, place in best, cost, quality) for place in own]
            chosen.append(Arm(arm, look.colour, look.marker, "", (gid, *parts)))
        better = "higher" if higher_is_better else "lower"
        axes.set_xlabel(f"{cost} (less is better)", fontsize=9)
        axes.set_ylabel(f"{printable(quality)} ({better} is better)", fontsize=9)
        add_legend(figure, [axes])
        chosen.append(Arm(FRONT, INK, "", "--", (FRONT,)))
        words = "On the front: " + "; ".join(
            f"{place.name}: {quality} {place.quality} at {place.cost}" for place in best
        )
        return save(
            figure,
            plain(name),
            title,
            marked(words, synthetic_data),
            labels=labels,
            arms=chosen,
            data=_table(places, best, cost, quality),
        )


def _says(place: Place, is_best: bool, cost: str, quality: str) -> str:
    on = ", on the front" if is_best else ""
    return f"{place.name}: {quality} {place.quality}, {cost} {place.cost}{on}"


def _table(places: Sequence[Place], best: Sequence[Place], cost: str, quality: str) -> Table:
    headers = ("model", cost, "low", "high", quality, "low", "high", "on the front")
    rows = (
        (
            Cell(place.name),
            *place.cost.cells(),
            *place.quality.cells(),
            Cell("yes", kind="good") if place in best else Cell("no"),
        )
        for place in places
    )
    return Table(headers, tuple(rows))
