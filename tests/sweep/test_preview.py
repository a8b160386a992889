"""`--dry-run` of a sweep: cells counted, and their cost from earlier ones or from a probe."""

import re
from typing import Any

import pytest

from sentinel_research.dry_run import dry_run
from tests.sweep.conftest import Finished, sweep_recipe

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("sweep")]
RECOVER = {
    "train": {"corpus": "synthetic", "num_steps": 1000, "batch_size": 2, "sequence_length": 16}
}


def test_dry_run_of_a_finished_sweep_computes_nothing(finished: Finished) -> None:
    text = dry_run(finished.recipe, finished.swept.folder).text
    assert "cells: 10, of 2 models" in text
    assert "one: 5 cells, 5 done; to compute: none" in text
    assert "time of one process: 0 s" in text
    (store,) = re.findall(r"store: (\S+) GB", text)
    files = [path for path in finished.swept.folder.rglob("cells/*/*") if path.is_file()]
    assert float(store) == pytest.approx(sum(path.stat().st_size for path in files) / 1e9, rel=0.06)


def test_dry_run_counts_the_cells_of_every_kind_and_probes_their_cost(
    models: dict[str, Any], tmp_path: Any
) -> None:
    recipe = sweep_recipe({"one": models["one"]}, recover=RECOVER)
    text = dry_run(recipe, tmp_path / "nowhere").text
    # two masks of each scorer at each fraction, and one dense control
    assert "one: 10 cells, 0 done; to compute: 5 measured, 5 recovered full" in text
    times = re.search(r"\(measured (\S+) s, recovered full (\S+) s; probe of 3 documents\)", text)
    assert times is not None, text
    measured, recovered = map(float, times.groups())
    # a thousand steps take longer than three short documents
    assert recovered > 5 * measured > 0
    assert "memory of a process: " in text
    assert not (tmp_path / "nowhere").exists()


def test_model_that_cannot_be_loaded_has_no_estimate(models: dict[str, Any], tmp_path: Any) -> None:
    bad = {"bad": {"pretrained": str(tmp_path / "gone")}}
    text = dry_run(sweep_recipe(bad), tmp_path / "nowhere").text
    assert "no estimate: " in text
    assert "gone" in text
