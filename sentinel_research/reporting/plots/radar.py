"""Several qualities at once, each as a share of the dense model's, more being better."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.plots.values import add_legend, look_of, new_canvas, plain
from sentinel_research.reporting.svg import Arm, Drawing, drawing_style, marked, printable, save
from sentinel_research.reporting.tables import Cell, Table

LEAST_AXES = 3
NORMALISATION = (
    "1 is the dense model, outside is better: what is better lower is shown as dense over own, "
    "what is better higher as own over dense"
)


class Share(NamedTuple):
    """One spoke of one arm."""

    arm: str
    axis: str
    """May be of two lines."""
    value: float
    """Measured, in the axis' unit."""
    dense: float
    """The dense model's."""
    higher_is_better: bool

    @property
    def share(self) -> float:
        """1 for the dense model, more for what is better."""
        ratio = self.value / self.dense
        return ratio if self.higher_is_better else 1 / ratio


def draw_radar(
    shares: Sequence[Share], *, name: str, title: str, synthetic_data: bool
) -> Drawing | None:
    """Draw the arms that were measured on every axis.

    Args:
        shares: By arm and axis; values of 0 have no share and are to be left out.
        name: Of the file, without suffix.
        title: What is shown.
        synthetic_data: Whether to mark the figure.

    Returns:
        The figure; None for fewer than three axes, or if no arm has all of them.
    """
    axes_names = list(dict.fromkeys(share.axis for share in shares))
    by_arm: dict[str, dict[str, float]] = {}
    for one in shares:
        by_arm.setdefault(one.arm, {})[one.axis] = one.share
    arms = [arm for arm, own in by_arm.items() if own.keys() == {*axes_names}]
    if len(axes_names) < LEAST_AXES or not arms:
        return None
    turns = [2 * math.pi * index / len(axes_names) for index in range(len(axes_names))]
    chosen, words, labels = [], [], {}
    with drawing_style():
        figure = new_canvas(5.6, 5.0, title, synthetic_data)
        axes = figure.add_subplot(projection="polar")
        for index, arm in enumerate(arms):
            look, own = look_of(arm, arms), by_arm[arm]
            values = [own[axis] for axis in axes_names]
            gid = f"radar-{index}"
            axes.plot(
                [*turns, turns[0]],
                [*values, values[0]],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markersize=4.5,
                linewidth=1.5,
                markevery=list(range(len(values))),
                label=printable(arm),
                gid=gid,
            )
            pairs = list(zip(axes_names, values, strict=True))
            labels[gid] = [
                f"{arm}, {_flat(axis)}: {number(value)} of the dense model's"
                for axis, value in pairs
            ]
            words.append(f"{arm}: {', '.join(f'{_flat(a)} {number(v)}' for a, v in pairs)}")
            chosen.append(Arm(arm, *look, (gid,)))
        names = ["\n".join(map(printable, axis.split("\n"))) for axis in axes_names]
        axes.set_xticks(turns, names, fontsize=8)
        for turn, label in zip(turns, axes.get_xticklabels(), strict=True):
            # beside the circle a name begins, or ends, at it
            side = round(math.cos(turn), 6)
            label.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
        axes.tick_params(axis="y", labelsize=7)
        axes.tick_params(axis="x", pad=6)
        axes.set_ylim(bottom=0.0)
        half = NORMALISATION.index(": ") + 1
        wording = f"{NORMALISATION[:half]}\n{NORMALISATION[half + 1 :]}"
        axes.set_xlabel(wording, fontsize=7, labelpad=14)
        add_legend(figure, [axes])
        text = marked(". ".join(words), synthetic_data)
        return save(
            figure, plain(name), title, text, labels=labels, arms=chosen, data=_table(shares)
        )


def _flat(axis: str) -> str:
    return axis.replace("\n", " ")


def _table(shares: Sequence[Share]) -> Table:
    rows = (
        (
            Cell(one.arm),
            Cell(_flat(one.axis)),
            Cell(number(one.value), str(one.value), "number"),
            Cell(number(one.dense), str(one.dense), "number"),
            Cell("higher" if one.higher_is_better else "lower"),
            Cell(f"{one.share:.3f}", str(one.share), "number"),
        )
        for one in shares
    )
    headers = ("arm", "axis", "value", "dense model", "better", "share of the dense model")
    return Table(headers, tuple(rows))
