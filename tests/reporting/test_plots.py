"""Plots that know nothing of what they show: what is drawn, what marks say, and what is refused."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from sentinel_research.reporting.plots import (
    Line,
    Panel,
    Place,
    RowOf,
    Share,
    Spread,
    draw_front,
    draw_lines,
    draw_radar,
    draw_rows,
)
from sentinel_research.reporting.plots.front import front_of
from sentinel_research.reporting.plots.values import look_of, new_canvas
from sentinel_research.reporting.svg import Drawing, drawing_style, save

_SVG = "{http://www.w3.org/2000/svg}"


def _marks(drawing: Drawing) -> list[str]:
    """What every mark of a drawing says."""
    found = []
    for element in ET.fromstring(drawing.inline).iter():
        if element.get("class") == "mark":
            found.append(str(element.findtext(f"{_SVG}title")))
    return found


def _place(name: str, cost: float, quality: float) -> Place:
    return Place("arm", name, Spread(cost), Spread(quality))


def test_scorer_has_one_colour_whether_or_not_random_masks_are_beside_it() -> None:
    alone = ["magnitude_l2", "entropy_low"]
    beside = ["dense", "random", *alone]
    assert [look_of(arm, alone) for arm in alone] == [look_of(arm, beside) for arm in alone]
    assert len({look_of(arm, beside) for arm in beside}) == 4


def test_front_has_what_nothing_else_beats_in_both() -> None:
    places = [_place("a", 1, 9), _place("b", 2, 5), _place("c", 3, 5), _place("d", 4, 2)]
    places.append(_place("beaten by b", 2.5, 7))
    assert [one.name for one in front_of(places, higher_is_better=False)] == ["a", "b", "d"]
    assert [one.name for one in front_of(places, higher_is_better=True)] == ["a"]


def test_front_of_one_model_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than two models were measured"):
        _front([_place("a", 1, 9)])


def _front(places: list[Place], **more: Any) -> Drawing:
    given = {"name": "f", "title": "t", "cost": "ms", "quality": "loss", "synthetic_data": False}
    return draw_front(places, higher_is_better=False, **{**given, **more})


def test_model_on_the_front_says_its_cost_its_quality_and_where_it_is() -> None:
    places = [Place("x", "small", Spread(1, 0.5, 2), Spread(9, 8, 10)), _place("big", 2, 10)]
    drawing = _front(places)
    first = "small: loss 9.000 (8.000 to 10.00), ms 1.000 (0.5000 to 2.000), on the front"
    assert _marks(drawing) == [first, "big: loss 10.00, ms 2.000"]
    assert drawing.data is not None
    assert [row[-1].text for row in drawing.data.rows] == ["yes", "no"]
    assert [arm.name for arm in drawing.arms] == ["x", "arm", "front"]


def test_line_has_a_mark_for_every_value_and_none_for_where_it_begins() -> None:
    line = Line("one", ((0.25, Spread(3.0, 2.0, 4.0)), (0.5, Spread(5.0))))
    drawing = draw_lines(
        [Panel("loss", (line,), start=Spread(1.0))],
        name="lines",
        title="Losses",
        across="fraction",
        synthetic_data=True,
    )
    assert _marks(drawing) == [
        "one, fraction 0.25: 3.000 (2.000 to 4.000)",
        "one, fraction 0.5: 5.000",
        "dense model: 1.000",
    ]
    assert ">Losses (synthetic data)<" in drawing.svg
    assert drawing.description.startswith("Synthetic data. ")


def test_part_of_a_plot_belongs_to_its_arm_in_the_page_alone() -> None:
    lines = tuple(Line(name, ((1.0, Spread(2.0, 1.0, 3.0)),)) for name in ("one", "two"))
    drawing = draw_lines(
        [Panel("a", lines), Panel("b", lines)],
        name="lines",
        title="t",
        across="x",
        synthetic_data=False,
    )
    root = ET.fromstring(drawing.inline)
    owners = [element.get("data-arm") for element in root.iter() if element.get("data-arm")]
    # of every panel a line with both caps and its bar
    assert owners.count("0") == owners.count("1") == 8
    assert "data-arm" not in drawing.svg
    assert "legend_1" in drawing.svg
    assert "legend_1" not in drawing.inline


def test_lines_without_any_value_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        draw_lines(
            [Panel("a", (Line("one", ()),))], name="n", title="t", across="x", synthetic_data=False
        )


def test_rows_without_any_value_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        draw_rows([], name="n", title="t", across="x", synthetic_data=False)


def test_row_of_two_arms_has_both_values() -> None:
    rows = [RowOf("task", "one", Spread(1.0)), RowOf("task", "two", Spread(2.0, 1.0, 4.0))]
    drawing = draw_rows(rows, name="n", title="t", across="x", synthetic_data=False)
    assert _marks(drawing) == ["task, one: 1.000", "task, two: 2.000 (1.000 to 4.000)"]


def test_radar_inverts_what_is_better_lower_and_prints_how() -> None:
    shares = [
        Share("own", "perplexity", 20.0, 10.0, False),
        Share("own", "speed", 30.0, 10.0, True),
        Share("own", "parameters", 5.0, 10.0, False),
    ]
    drawing = draw_radar(shares, name="r", title="t", synthetic_data=False)
    assert drawing is not None
    assert [text.split(": ")[1].split(" ")[0] for text in _marks(drawing)] == [
        "0.5000",
        "3.000",
        "2.000",
    ]
    assert "what is better lower is shown as dense over own" in drawing.svg


def test_radar_of_two_axes_or_of_no_whole_arm_is_not_drawn() -> None:
    shares = [Share("own", name, 1.0, 1.0, True) for name in ("a", "b")]
    assert draw_radar(shares, name="r", title="t", synthetic_data=False) is None
    other = Share("other", "c", 1.0, 1.0, True)
    assert draw_radar([*shares, other], name="r", title="t", synthetic_data=False) is None


def test_words_for_another_number_of_marks_are_an_error() -> None:
    with drawing_style():
        figure = new_canvas(2, 2, "t", False)
        figure.add_subplot().plot([1, 2], [1, 2], "o", gid="line")
        with pytest.raises(ValueError, match="n-line has 2 marks and words for 1 of them"):
            save(figure, "n", "t", "d", labels={"line": ["only one"]})
