"""The benchmark's smallest run, offline and on the corpus that needs no data."""

import json
import time
from pathlib import Path

import pytest

from sentinel_research.cli import main
from tests.cli.conftest import SMOKE

pytestmark = pytest.mark.long


def test_smoke_run_finishes_within_a_minute_and_is_labelled_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.process_time()
    assert main([*SMOKE[1:], "--output_dir", str(tmp_path)]) == 0
    assert time.process_time() - start < 60
    captured = capsys.readouterr()
    files = [tmp_path / f"{model}_synthetic_seq64_bits32.json" for model in ("mamba", "bk")]
    assert captured.out.splitlines()[-2:] == list(map(str, files))
    assert "(synthetic data)" in captured.out
    assert "done: bk-seed42: sentinel_synthetic" in captured.err
    for path in files:
        result = json.loads(path.read_text())
        assert result["synthetic_data"]
        assert result["status"] == "done"
        assert result["bits_per_byte"] > 0
