"""Every kept verdict follows from the kept records, and the published ledger says the same."""

from pathlib import Path

import pytest

from sentinel_research.claims import judge, names, read_claim
from sentinel_research.claims.evidence import Evidence
from sentinel_research.claims.judge import differences
from sentinel_research.claims.ledger import read_ledger, render_markdown
from sentinel_research.claims.store import read_measurements
from sentinel_research.recipe import load_recipe

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "regression_baselines"
DEVICE = "amd-epyc"


@pytest.mark.parametrize("name", names(FOLDER))
def test_verdict_follows_from_what_is_kept(name: str) -> None:
    claim = read_claim(name, FOLDER)
    assert claim.judged is not None, "sentinel claims check NAME --write"
    assert differences(claim.judged, judge(claim, Evidence(FOLDER, DEVICE))) == []


def test_published_ledger_is_that_of_the_files() -> None:
    published = (ROOT / "docs" / "claims.md").read_text()
    assert published == render_markdown(read_ledger(FOLDER)), (
        "sentinel claims report --output docs/claims.md"
    )


@pytest.mark.parametrize(("name", "measurement"), [*read_measurements(FOLDER).items()], ids=str)
def test_every_run_of_claims_can_be_asked_for_again(name: str, measurement: object) -> None:
    measured = read_measurements(FOLDER)[name]
    if measured.recipe is not None:
        asked = [one.replace("RUNS", "runs/claims") for one in measured.set]
        assert load_recipe(measured.recipe, asked).recipe.name == measured.recipe
    else:
        assert measured.bench in ("levels", "attention", "resolvent")
