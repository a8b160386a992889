"""The file of `sentinel bench`: its layout, and how sections join it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sentinel_research.bench import run
from sentinel_research.bench.files import read_file, to_json
from sentinel_research.bench.run import bench
from sentinel_research.bench.schema import SpeedFile
from sentinel_research.errors import UsageError
from sentinel_research.timing import Comparison, Sample, compare

# one worker measures the section once
pytestmark = pytest.mark.xdist_group("bench-files")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speed") / "below" / "device.json"
    bench(["calibration"], size="tiny", output=path)
    return path


def _comparison() -> Comparison:
    return compare("x", ("m", [Sample(2, 1)] * 3), ("p", [Sample(1, 1)] * 3))


def test_file_survives_a_round_trip_and_is_strict_json(measured: Path) -> None:
    content = SpeedFile.model_validate_json(measured.read_text())
    assert to_json(content) == measured.read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(measured.read_text(), parse_constant=refuse)
    assert list(data) == ["format_version", "device", "size", "calibration"]


def test_every_field_is_documented() -> None:
    schema = SpeedFile.model_json_schema()
    shapes = [schema, *schema["$defs"].values()]
    lacking = [
        f"{shape['title']}.{name}"
        for shape in shapes
        for name, field in shape["properties"].items()
        if "description" not in field
    ]
    assert not lacking
    assert all(shape["additionalProperties"] is False for shape in shapes)


def test_section_says_under_which_conditions_it_was_measured(measured: Path) -> None:
    section = SpeedFile.model_validate_json(measured.read_text()).calibration
    assert section is not None
    assert section.conditions.num_threads == 1
    assert {"torch", "transformers"} <= set(section.conditions.packages)
    assert section.conditions.commit is None or len(section.conditions.commit) == 40
    assert section.comparisons[0].num_pairs == 3


def test_section_measured_later_joins_and_the_others_stay(measured: Path, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_bytes(measured.read_bytes())
    before = json.loads(path.read_text())
    bench(["forward"], size="tiny", num_pairs=2, output=path)
    after = json.loads(path.read_text())
    assert after["calibration"] == before["calibration"]
    assert "forward" in after
    bench(["calibration"], size="tiny", num_pairs=2, output=path)
    again = json.loads(path.read_text())
    assert again["forward"] == after["forward"]
    assert again["calibration"] != before["calibration"]


def _changed(path: Path, **changes: Any) -> str:
    return json.dumps({**json.loads(path.read_text()), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "Abacus"}, "of device 'Abacus', this run of"),
        ({"size": "124m"}, "of size '124m', this run of 'tiny'"),
        ({"fastest": True}, "fastest: Extra inputs are not permitted"),
        ({"format_version": 2}, "format_version"),
        ({"calibration": {}}, "calibration.conditions: Field required"),
    ],
    ids=["device", "size", "unknown key", "version", "incomplete"],
)
def test_file_that_does_not_fit_is_refused_before_anything_is_measured(
    measured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    path = tmp_path / "other.json"
    path.write_text(_changed(measured, **changes))
    monkeypatch.setattr(run, "_RUN", {})
    with pytest.raises(UsageError, match=message):
        bench(["calibration"], size="tiny", output=path)


def test_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot read"):
        read_file(path, SpeedFile(device="cpu", size="tiny"))
    path.write_text("fast")
    with pytest.raises(UsageError, match="is no speed file"):
        read_file(path, SpeedFile(device="cpu", size="tiny"))


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_ratio_that_is_not_that_of_its_pairs_is_refused(clock: str) -> None:
    data = _comparison().model_dump(mode="json")
    data[clock]["median"] *= 0.9
    with pytest.raises(ValidationError, match="is not that of the pairs"):
        Comparison.model_validate(data)


def test_pairs_that_are_left_out_are_noticed() -> None:
    data = _comparison().model_dump(mode="json")
    data["cpu_seconds"].pop()
    with pytest.raises(ValidationError, match="2 cpu times for 3 pairs"):
        Comparison.model_validate(data)


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_numbers_that_are_not_finite_are_refused(value: str) -> None:
    text = _comparison().model_dump_json().replace('"high":2.0', f'"high":{value}')
    with pytest.raises(ValidationError):
        Comparison.model_validate_json(text)
