"""`corpora` in a recipe: text of the user's own is measured, recorded, and marked if synthetic."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord


def _run(recipe_file: Path, folder: Path, corpora: str, task: str) -> RunRecord:
    model = save(tiny_model("gpt2"), byte_tokenizer(), folder / "model")
    words = ["run", str(recipe_file), "--output", str(folder / "out"), "--quiet"]
    for change in (f"model.pretrained={model}", f"corpora={corpora}", f"evaluate.tasks=[{task}]"):
        words += ["--set", change]
    assert main([*words, "--set", "prune=null", "--set", "evaluate.limit=2"]) == 0
    return RunRecord.read(folder / "out")


def test_folder_of_texts_is_measured_by_one_key(recipe_file: Path, tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / "law").mkdir(exist_ok=True)
        (tmp_path / "law" / f"{index}.txt").write_text(f"article {index} of the law")
    record = _run(recipe_file, tmp_path, f"{{law: {{path: {tmp_path / 'law'}}}}}", "sentinel_law")
    found = record.cell("dense").evaluation
    assert found is not None
    assert found.measurement("sentinel_law", "byte_perplexity").value > 1
    (origin,) = record.datasets
    assert (origin["source"], origin["repo_id"]) == ("files", str(tmp_path / "law"))
    assert len(origin["files"]) == 12
    assert not record.synthetic_data


def test_corpus_out_of_the_synthetic_one_is_marked_synthetic(
    recipe_file: Path, tmp_path: Path
) -> None:
    corpora = "{some: {corpus: synthetic}, few: {corpus: some, filters: {exact_duplicates: true}}}"
    assert _run(recipe_file, tmp_path, corpora, "sentinel_few").synthetic_data


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_path_that_does_not_exist_is_refused_first(
    flags: list[str], recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(recipe_file), "--set", "corpora={law: {path: nowhere}}", *flags]
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    assert "there is no file or folder 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
