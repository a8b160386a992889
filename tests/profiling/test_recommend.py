"""Nothing is recommended that the numbers do not tell from no difference."""

import pytest

from sentinel_research.profiling.recommend import Candidate, recommendations
from sentinel_research.timing import Median


def _said(low: float, median: float, high: float, coverage: float = 0.95) -> list[str]:
    speed_up = Median(low=low, median=median, high=high, coverage=coverage)
    return recommendations([Candidate("a half", "dense", "decode", speed_up, "it loses 0.1")])


@pytest.mark.parametrize(
    "ends", [(0.9, 1.2), (1.0, 1.4), (0.8, 1.0)], ids=["around", "from", "up to"]
)
def test_recommendation_is_withheld_where_the_interval_holds_1(ends: tuple[float, float]) -> None:
    assert _said(ends[0], sum(ends) / 2, ends[1]) == []


def test_what_is_faster_is_recommended_with_its_interval_and_its_price() -> None:
    expected = "decode: take a half, 1.50x [1.20, 1.70] as fast as dense; it loses 0.1"
    assert _said(1.2, 1.5, 1.7) == [expected]


def test_what_is_slower_is_advised_against() -> None:
    assert _said(0.5, 0.6, 0.9)[0].startswith("decode: avoid a half, 0.60x")


def test_interval_of_few_rounds_recommends_nothing() -> None:
    assert _said(1.2, 1.5, 1.7, coverage=0.75) == []
