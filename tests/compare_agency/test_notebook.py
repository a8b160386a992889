"""The notebook runs from its first cell to its last, on the tiny model."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.long

NOTEBOOK = Path(__file__).parents[2] / "docs" / "compare_agency.ipynb"


@pytest.mark.xdist_group("compare_agency")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs_the_command_and_shows_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_PRESET", "debug")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    shown = [one.get("data", {}) for one in notebook.cells[-1]["outputs"]]
    assert sum("image/svg+xml" in data for data in shown) >= 2
    assert any("agency is" in data.get("text/markdown", "") for data in shown)
    assert (tmp_path / "pruning_agency" / "results.json").exists()


def test_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
