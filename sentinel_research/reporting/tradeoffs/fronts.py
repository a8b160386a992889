"""Quality against what it costs, and against what chance gives for the same."""

from collections.abc import Iterator

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.estimates import RANDOM, Group, split_arm
from sentinel_research.reporting.plots import Line, Panel, Place, Spread, draw_front, draw_lines
from sentinel_research.reporting.tradeoffs import measured
from sentinel_research.reporting.tradeoffs.task import GENERATE, Lack, Measured

_TIMED = (
    "Times are medians of repetitions with their quartiles, of models timed one after the other on "
    "this machine. The front joins what no other model beats in both, by values and not by "
    "intervals."
)
_COUNTED = (
    "Forward operations per token as a share of the dense model's, counted by torch on the pruned "
    "model: a masked one computes all that it did before. The front joins what no other model "
    "beats in both, by values and not by intervals."
)
_IMPROVED = (
    "How much better than the median of the random masks of the same fraction, in percent of "
    "that; bars go from the best of the masks to the worst. Above 0 is better."
)


def fronts(
    record: RunRecord, groups: list[Group], found: Measured, lacks: list[Lack]
) -> Iterator[Part]:
    for key, title, cost, note, read, dense, lack in (
        ("flops", "operations", "operations per token over dense", _COUNTED,
         measured.flops_share, Spread(1.0),
         ("no pruning has its operations counted", "run it again with this version")),
        ("latency", "measured time", "ms per token after the first", _TIMED,
         measured.token_ms, None, ("no model was timed while it writes", GENERATE)),
    ):  # fmt: skip
        places = []
        for place, quality in found.values.items():
            group = groups[place]
            spread = measured.over_cells(group, read)
            spread = dense if group.is_dense and spread is None else spread
            if spread is not None:
                places.append(Place(group.scorer, group.name, spread, quality))
        name = f"{found.label} against {title} on {found.task}"
        if len(places) < 2:
            lacks.append(Lack(f"quality against {title}", *lack))
            continue
        figure = draw_front(
            places,
            name=f"front_{key}_{found.task}",
            title=name[0].upper() + name[1:],
            cost=cost,
            quality=found.label,
            higher_is_better=found.higher_is_better,
            synthetic_data=record.synthetic_data,
        )
        heading = f"Quality against {title} ({found.task})"
        yield Part(f"{key}-{found.task}", heading, None, figure, (note,), "", places)


def improvement(
    record: RunRecord, groups: list[Group], found: Measured, lacks: list[Lack]
) -> Iterator[Part]:
    title = f"Improvement over random masks ({found.task})"
    masks = {
        (split_arm(groups[place].scorer)[0], groups[place].fraction): spread
        for place, spread in found.values.items()
        if split_arm(groups[place].scorer)[1] == RANDOM
    }
    lines: dict[str, list[tuple[float, Spread]]] = {}
    for place, spread in found.values.items():
        group = groups[place]
        variant, scorer = split_arm(group.scorer)
        other = masks.get((variant, group.fraction))
        if group.is_dense or scorer == RANDOM or other is None or other.value == 0:
            continue
        sign = 1.0 if found.higher_is_better else -1.0
        against = [other.value, *(end for end in (other.low, other.high) if end)]
        percents = [100 * sign * (spread.value - one) / abs(one) for one in against]
        ends = (min(percents), max(percents)) if len(percents) > 1 else (None, None)
        lines.setdefault(group.scorer, []).append((group.fraction, Spread(percents[0], *ends)))
    if not lines:
        why = "no criterion stands beside random masks of the same fraction"
        lacks.append(
            Lack(
                "improvement over random masks",
                why,
                "add random to `prune.scorers`, with several `prune.seeds`",
            )
        )
        return
    figure = draw_lines(
        [
            Panel(
                f"{found.label}, % better than random",
                tuple(Line(arm, tuple(points)) for arm, points in lines.items()),
                reference=(0.0, "random masks"),
            )
        ],
        name=f"improvement_{found.task}",
        title=title,
        across="fraction pruned",
        synthetic_data=record.synthetic_data,
    )
    yield Part(f"improvement-{found.task}", title, None, figure, (_IMPROVED,), "", lines)
