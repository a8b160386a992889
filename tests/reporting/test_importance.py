"""What orders units differently: another draw, another text, or another criterion."""

import pytest

from sentinel_research.record import CellRecord
from sentinel_research.reporting.estimates import group_cells
from sentinel_research.reporting.studies.importance import Likeness, compare_importance
from tests.reporting.records import toy_record

UP, DOWN, NEAR = [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 3.0]


def _cell(text: str, scorer: str, seed: int, scores: list[float]) -> CellRecord:
    lowest = sorted(range(4), key=scores.__getitem__)[:2]
    spec = {
        "scorer": scorer,
        "fraction": 0.5,
        "seed": 0,
        "variant": text,
        "calibration": {"corpus": text, "task": None, "seed": seed},
    }
    plan = {"scores": {"head": [scores]}}
    report = {"plan": plan, "removed": {"head": [f"L0H{head}" for head in lowest]}}
    name = f"{text}-{scorer}-{seed}"
    return CellRecord(id=name, status="done", prune_spec=spec, prune=report)


def _compared(*cells: CellRecord) -> dict[tuple[str, str, str], Likeness]:
    dense = CellRecord(id="dense", status="done", prune_spec=None)
    found = compare_importance(group_cells(toy_record([dense, *cells], {})))
    return {(one.changed, one.first, one.second): one for one in found}


def test_pairs_differ_in_one_thing_and_are_told_apart_by_it() -> None:
    found = _compared(
        _cell("plays", "taylor", 0, UP),
        _cell("plays", "taylor", 1, NEAR),
        _cell("films", "taylor", 0, DOWN),
        _cell("plays", "fisher", 0, UP),
    )
    assert list(found) == [
        ("draw", "taylor on plays", ""),
        ("text", "taylor on plays", "on films"),
        ("criterion", "taylor on plays", "fisher"),
    ]
    draw, text, criterion = found.values()
    # by hand: two neighbours of four swapped
    assert draw.rho == pytest.approx(0.8)
    assert (draw.overlap, text.rho, text.overlap) == (1.0, pytest.approx(-1.0), 0.0)
    assert (criterion.rho, criterion.num_pairs) == (pytest.approx(1.0), 1)
    # of two selections of 2 of 4: (1 * 1 + 4 * 1/3 + 0) / 6
    assert draw.expected == pytest.approx((1 + 4 / 3) / 6)


def test_several_draws_give_a_mean_with_its_range() -> None:
    found = _compared(*(_cell("plays", "taylor", n, s) for n, s in enumerate((UP, NEAR, DOWN))))
    (draw,) = found.values()
    assert draw.num_pairs == 3
    assert (draw.lowest_rho, draw.highest_rho) == (pytest.approx(-1.0), pytest.approx(0.8))
