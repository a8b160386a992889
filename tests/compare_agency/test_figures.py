"""What the figures show, from results that were written by hand."""

from typing import Any

import pytest

from sentinel_research.compare_agency.contrasts import contrasts_of
from sentinel_research.compare_agency.figures import draw_all, radar_shares
from sentinel_research.compare_agency.page import agency_page
from sentinel_research.compare_agency.points import Key, Values, points_of
from sentinel_research.compare_agency.schema import AgencyResults
from sentinel_research.reporting.render import render_html

_DENSE = {
    "perplexity": 10.0,
    "tokens_per_second": 100.0,
    "first_token_ms": 20.0,
    "distinct-2": 0.8,
    "seq-rep-4": 0.2,
}


def _values(shares: dict[str, float], noise: float = 0.01) -> Values:
    """By arm a factor on every value of the dense model, over three iterations."""
    found: Values = {}
    for arm, share in {"dense": 1.0, **shares}.items():
        for metric, value in _DENSE.items():
            temperature = 1.0 if metric in ("distinct-2", "seq-rep-4") else None
            key = Key(arm, 0.0 if arm == "dense" else 50.0, metric, temperature)
            found[key] = {i: value * share * (1 + noise * i) for i in range(3)}
    return found


def _results(values: Values, **changes: Any) -> AgencyResults:
    given: dict[str, Any] = {
        "schema_version": 1,
        "status": "done",
        "synthetic_data": True,
        "config": {"temperatures": [1.0]},
        "definitions": {},
        "points": points_of(values, 3),
        "contrasts": contrasts_of(values, 3, None),
        "checks": (),
        "not_measured": {},
        "records": {},
        "provenance": {},
    }
    return AgencyResults(**{**given, **changes})


def test_radar_shows_shares_of_the_dense_model_with_more_being_better() -> None:
    shares = dict.fromkeys(("masked", "removed", "random", "agency"), 2.0)
    found = {
        one.axis: one.share
        for one in radar_shares(_results(_values(shares)))
        if one.arm == "agency"
    }
    assert found == pytest.approx(
        {
            "tokens per second": 2.0,
            "first token, ms": 0.5,
            "perplexity": 0.5,
            "distinct-2": 2.0,
            "seq-rep-4": 0.5,
        }
    )


def test_synthetic_data_is_marked_in_every_figure() -> None:
    results = _results(_values({"masked": 1.5, "agency": 1.2}))
    for drawing in draw_all(results):
        assert "synthetic data" in drawing.svg
        assert drawing.description.startswith("Synthetic data.")


def test_arm_that_was_not_measured_is_not_drawn() -> None:
    drawings = {one.file_name: one for one in draw_all(_results(_values({"agency": 1.2})))}
    assert [one.name for one in drawings["speed.svg"].arms] == ["agency", "dense"]
    assert "improvement.svg" not in drawings


def test_nothing_is_drawn_where_nothing_was_measured() -> None:
    assert draw_all(_results({})) == []


def test_factor_that_holds_in_every_iteration_is_found_and_named_by_its_direction() -> None:
    values = _values({"masked": 1.0, "removed": 1.0, "random": 1.0, "agency": 1.0})
    for metric, temperature in (("perplexity", None), ("tokens_per_second", None)):
        key = Key("agency", 50.0, metric, temperature)
        values[key] = {i: v * (1.5 + 0.001 * i) for i, v in values[key].items()}
    found = {one.metric: one for one in contrasts_of(values, 3, None) if one.second == "masked"}
    assert found["perplexity"].verdict == "worse"
    assert found["tokens_per_second"].verdict == "better"
    assert found["perplexity"].ratio == pytest.approx(1.5, rel=1e-2)
    assert found["first_token_ms"].verdict == "not comparable"
    assert found["first_token_ms"].reason == "the same difference in every iteration"


def test_correction_is_over_all_contrasts_of_the_file() -> None:
    values = _values({"masked": 1.0, "removed": 1.0, "random": 1.0, "agency": 1.0})
    key = Key("agency", 50.0, "perplexity", None)
    values[key] = {i: v * (1.5 + 0.01 * i) for i, v in values[key].items()}
    found = [one for one in contrasts_of(values, 3, None) if one.p_value is not None]
    assert len(found) == 3
    smallest = min(found, key=lambda one: one.p_value or 0)
    assert smallest.p_adjusted == pytest.approx(3 * (smallest.p_value or 0))


def test_page_has_figures_contrasts_and_what_was_not_measured() -> None:
    results = _results(_values({"masked": 1.5, "agency": 1.2}), not_measured={"agency": "<gone>"})
    html = render_html(agency_page(results, draw_all(results)))
    assert html.count("<figure>") == 7
    assert "Not measured: agency: &lt;gone&gt;" in html
    assert "perplexity 12.12 (11.82 to 12.42), first token, ms 24.24" in html
    assert '<span class="synthetic">synthetic data</span>' in html
