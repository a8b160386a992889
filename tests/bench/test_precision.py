"""What `sentinel bench precision` compares, at a size whose times mean nothing."""

import json

import pytest

from sentinel_research.bench.precision import FLOAT32, WAYS
from sentinel_research.bench.schema import PrecisionSection, SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.cli import main

# one worker measures the section once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("bench-precision")]
NAMES = [*WAYS, "bfloat16"]


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> PrecisionSection:
    path = tmp_path_factory.mktemp("speed") / "here.json"
    words = ["bench", "precision", "--size", "tiny", "--pairs", "2", "--output", str(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SENTINEL_MODELS", raising=False)
        assert main(words) == 0
    found = SpeedFile.model_validate_json(path.read_text()).precision
    assert found is not None
    return found


def test_every_precision_is_timed_in_both_modes_beside_float32(section: PrecisionSection) -> None:
    names = [f"tiny/{mode}/{name}" for mode in ("prefill", "decode") for name in NAMES]
    assert [one.name for one in section.comparisons] == names
    assert {one.alternative for one in section.comparisons} == {"the model in float32"}
    assert section.comparisons[0].wall_seconds[0][1] == section.comparisons[1].wall_seconds[0][1]


def test_fewer_bits_take_fewer_bytes_in_memory_and_in_files(section: PrecisionSection) -> None:
    assert [one.name for one in section.models] == [f"tiny/{name}" for name in (FLOAT32, *NAMES)]
    held = {one.name.removeprefix("tiny/"): one for one in section.models}
    for before, after in ((FLOAT32, "bits16"), ("bits16", "bits8_float_activations"),
                          ("bits8_float_activations", "bits4")):  # fmt: skip
        assert held[after].weight_bytes < held[before].weight_bytes
        assert held[after].file_bytes < held[before].file_bytes
    for one in held.values():
        assert one.peak_bytes is None or one.peak_bytes > 0


def test_real_model_that_is_not_there_is_named(section: PrecisionSection) -> None:
    assert list(section.not_measured) == ["shakespeare-char-gpt2-8l"]
    lines = lines_of(section)
    assert any("was not measured: SENTINEL_MODELS" in line for line in lines)
    assert any("a fresh process rose by" in line for line in lines)
    assert json.loads(section.model_dump_json())["models"][1]["kernel"]
