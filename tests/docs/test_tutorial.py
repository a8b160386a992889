"""The tutorial works as it is typed, from the training to a verdict."""

import re
import shlex
from pathlib import Path

import pytest

from tests.docs.pages import DOCS
from tests.processes import Processes

pytestmark = pytest.mark.long

PAGE = (DOCS / "tutorial.md").read_text()
VERDICT = re.compile(r"^gradients: (supported|refuted|inconclusive)$", re.MULTILINE)
# the page's own training takes two minutes
QUICK = ["--set", "train.num_steps=4", "--set", "evaluate.limit=20", "--quiet"]


@pytest.mark.xdist_group("processes")
def test_tutorial_ends_with_a_verdict_and_kept_numbers(
    tmp_path: Path, processes: Processes
) -> None:
    (claim,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "ledger" / "claims").mkdir(parents=True)
    (tmp_path / "ledger" / "claims" / "gradients.yaml").write_text(claim)
    shown = []
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            done = processes.run([*words, *(QUICK if words[1] == "run" else ())], tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            shown.append(done.stdout)
    _, judged, compared, _, checked = shown
    assert VERDICT.search(judged)
    assert "1 comparison" in compared
    assert "no difference" in checked
