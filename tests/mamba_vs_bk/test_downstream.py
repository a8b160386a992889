"""`--downstream`: what was trained is fine-tuned, by one protocol, and written as published."""

from pathlib import Path

import pytest

import sentinel_research.downstream.fine_tune as stage
from sentinel_research.cli import main
from tests.downstream.conftest import write_mirror
from tests.mamba_vs_bk.conftest import SMALL, merged, read, repository
from tests.mirrors import use

pytestmark = pytest.mark.long

WORDS = [
    *SMALL,
    *("--model", "both", "--dataset", "shakespeare", "--num_steps", "3", "--limit", "2"),
    *("--downstream", "--tasks", "squad", "--downstream_epochs", "1"),
    *("--downstream_seq_len", "96", "--no_checkpoint"),
]


@pytest.fixture
def mirror_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text to train on, and a task to learn."""
    root = write_mirror(tmp_path / "mirror")
    repository(root / "hub", "karpathy/tiny_shakespeare", "default", "text", 1)
    use(root, monkeypatch)


@pytest.mark.usefixtures("mirror_of_both")
def test_every_trained_model_gets_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    words = ["mamba-vs-bk", *merged(*WORDS, "--output_dir", str(output))]
    assert main(words) == 0
    page = (output / "report.html").read_text()
    assert "<h2>Fine-tuned, after shakespeare</h2>" in page
    assert ">report of shakespeare, fine-tuned</a>" in page
    for model in ("mamba", "bk"):
        found = read(output, f"{model}_downstream.json")
        assert set(found["squad"]) == {"em", "f1", "dataset_size"}
        assert found["squad"]["dataset_size"] == 8
        assert found["config"]["downstream_epochs"] == 1
        # what it was fine-tuned from is the model that was trained
        (checkpoint,) = found["provenance"]["checkpoints"]
        assert f"{model}-seed42/model" in checkpoint
        assert not Path(checkpoint).exists()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to fine-tune")

    monkeypatch.setattr(stage, "train", refuse)
    before = (output / "bk_downstream.json").read_text()
    assert main(words) == 0
    assert (output / "bk_downstream.json").read_text() == before


@pytest.mark.usefixtures("mirror_of_both")
def test_task_that_cannot_be_had_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = merged(*WORDS, "--tasks", "superglue", "--output_dir", str(output))
    assert main(["mamba-vs-bk", *words]) == 1
    assert "aps/super_glue" in capsys.readouterr().err
    assert not output.exists()
