"""`sentinel baseline`: what is kept, what is shown, and how the command ends."""

import json
import re
import shlex
from pathlib import Path

import pytest

from sentinel_research.cli import main
from tests.cli.conftest import refused

pytestmark = pytest.mark.long

PAGE = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text()
NAMED = ("--suite", "mine", "--model", "small")


@pytest.fixture
def kept(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    arguments = ("baseline", "accept", str(finished), *NAMED, "--why", "first")
    assert main([*arguments, "--folder", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path


def _lower_a_number(folder: Path) -> None:
    """Pretend that a model was better when its numbers were accepted."""
    from sentinel_research.baselines import accept, read_baselines

    dense, *rest = read_baselines(folder, "mine", "small")
    key = "sentinel_synthetic/token_perplexity"
    metric = dense.metrics[key].model_copy(update={"value": dense.metrics[key].value - 1})
    changed = dense.model_copy(update={"metrics": {**dense.metrics, key: metric}})
    accept(folder, [changed, *rest], "pretended")


def test_accepting_names_every_file_it_wrote(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["baseline", "accept", str(finished), *NAMED, "--why", "first"]
    assert main([*arguments, "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "small@dense: extra: there is no baseline of it" in out
    files = sorted((tmp_path / "mine").iterdir())
    # dense, two random masks and one by gradients
    assert len(files) == 4
    assert all(str(path) in out for path in files)


def test_same_run_passes_the_check(
    finished: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "check", str(finished), *NAMED, "--folder", str(kept)]) == 0
    assert capsys.readouterr().out == "mine/small: 32 metrics, no difference\n"


def test_moved_metric_fails_the_check(
    finished: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _lower_a_number(kept)
    assert main(["baseline", "check", str(finished), *NAMED, "--folder", str(kept)]) == 1
    out = capsys.readouterr().out
    assert "1 difference\n" in out
    assert "small@dense sentinel_synthetic/token_perplexity: the metric moved" in out
    assert "worse" in out


def test_differences_can_be_read_by_programs(
    finished: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _lower_a_number(kept)
    arguments = ["baseline", "check", str(finished / "record.json"), *NAMED]
    assert main([*arguments, "--folder", str(kept), "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["kind"] == "the metric moved"
    assert found["where"] == "small@dense sentinel_synthetic/token_perplexity"


def test_accepting_the_same_numbers_says_so(
    finished: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["baseline", "accept", str(finished), *NAMED, "--why", "again"]
    assert main([*arguments, "--folder", str(kept)]) == 0
    assert "the numbers are the same" in capsys.readouterr().err


def test_run_that_names_no_baseline_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, "baseline", "check", str(finished))
    assert "names no baseline" in error
    assert "--suite" in error


def test_half_a_name_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "baseline", "check", str(finished), "--suite", "mine")
    assert "--model is missing" in error


@pytest.mark.parametrize("name", ["../mine", "", "a/b"])
def test_suite_cannot_be_a_path(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["baseline", "accept", str(finished), "--suite", name, "--model", "m"]
    error = refused(capsys, *arguments, "--why", "x", "--folder", str(tmp_path))
    assert "baseline: `suite`" in error
    assert list(tmp_path.iterdir()) == []


def test_check_without_anything_kept_names_the_command(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["baseline", "check", str(finished), *NAMED, "--folder", str(tmp_path)]
    error = refused(capsys, *arguments, code=1)
    assert "nothing is kept of mine/small" in error
    assert "sentinel baseline accept" in error


def test_unknown_suite_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "baseline", "measure", "absent", "--folder", str(tmp_path))
    assert "no suite 'absent'" in error


def test_suite_is_measured_model_by_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "suite.yaml").write_text(
        """
description: one model
common:
  train: {corpus: synthetic, num_steps: 2, sequence_length: 16, batch_size: 2}
  evaluate: {tasks: [sentinel_synthetic], limit: 2, max_length: 128}
models:
  one: {model: {architecture: gpt2, config: {n_embd: 8, n_layer: 1, n_head: 2, n_positions: 128}}}
"""
    )
    command = ["baseline", "measure", "tiny", "--folder", str(tmp_path), "--quiet"]
    command += ["--output", str(tmp_path / "runs")]
    assert main(command) == 1
    assert "nothing is kept of tiny/one" in capsys.readouterr().out
    accept = ["baseline", "accept", str(tmp_path / "runs" / "one"), "--folder", str(tmp_path)]
    assert main([*accept, "--why", "first"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == "tiny/one: 8 metrics, no difference\n"


def test_examples_of_the_page_run_as_they_are_typed(finished: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    places = {"runs/mine": str(finished), "runs/kept": str(tmp_path)}
    done = 0
    for line in lines:
        words = [places.get(word, word) for word in shlex.split(line)]
        assert words[0] == "sentinel"
        # the run is at hand, and the suite has a test of its own
        if words[1] == "baseline" and words[2] != "measure":
            assert main(words[1:]) == 0, line
            done += 1
    assert done == 3
