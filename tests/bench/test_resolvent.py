"""What `sentinel bench resolvent` measures, at a size whose times mean nothing."""

from pathlib import Path

import pytest

from sentinel_research.bench.resolvent import exponent_of
from sentinel_research.bench.schema import SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.cli import main
from sentinel_research.timing import Comparison, Sample, compare

pytestmark = pytest.mark.long


def _grown(power: float) -> list[Comparison]:
    return [
        compare(
            f"forward/{length}",
            ("ours", [Sample(1.0, 1e-6 * length**power)] * 2),
            ("copy", [Sample(1.0, 1e-6 * length)] * 2),
        )
        for length in (64, 256, 1024)
    ]


def test_rehearsal_measures_both_passes_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    words = ["bench", "resolvent", "--size", "tiny", "--pairs", "2", "--output", str(path)]
    assert main(words) == 0
    section = SpeedFile.model_validate_json(path.read_text()).resolvent
    assert section is not None
    assert [one.name for one in section.comparisons] == [
        f"{name}/{length}" for length in (16, 32, 64) for name in ("forward", "forward_backward")
    ]
    assert section.kernel == "numba"
    assert set(section.exponents) == {"forward", "forward_backward"}
    assert section.checks == ()
    assert any("the power" in line and "numba" in line for line in lines_of(section))


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_exponent_is_the_power_of_the_length(power: float) -> None:
    other = [one.model_copy(update={"name": "forward_backward/7"}) for one in _grown(0.1)]
    assert exponent_of([*_grown(power), *other], "forward") == pytest.approx(power)
