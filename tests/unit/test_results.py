"""The stored records are whole, and the stored reports are made from them."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import RunRecord
from sentinel_research.reporting.export import render_json
from sentinel_research.reporting.page import build_page

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "regression_baselines" / "records").glob("*.json.xz"))
NAMES = [path.name.removesuffix(".json.xz") for path in RECORDS]
# hundreds of models: ten seconds to read and to draw
_LARGE = {"recovery-shakespeare", "recovery-stories260k"}


def _record(name: str) -> RunRecord:
    path = ROOT / "regression_baselines" / "records" / f"{name}.json.xz"
    return RunRecord.model_validate_json(lzma.decompress(path.read_bytes()))


def _rounded(content: Any) -> Any:
    """The same to twelve digits: machines add numbers in another order."""
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return float(f"{content:.12g}") if isinstance(content, float) else content


def test_there_are_records() -> None:
    assert "recovery-shakespeare" in NAMES


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one in _LARGE)) for one in NAMES]
)
def test_stored_report_is_made_from_the_stored_record(name: str) -> None:
    record = _record(name)
    assert record.name == name
    assert record.status == "done"
    assert not record.failed_checks()
    made = json.loads(render_json(build_page(record)))
    stored = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    # what a later version adds is not in an earlier report
    assert _rounded({key: made[key] for key in stored}) == _rounded(stored)
