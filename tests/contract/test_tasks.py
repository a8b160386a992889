"""The project's perplexity tasks: found by lm-eval, right with stock models, with error bars."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import lm_eval
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table

from sentinel_research.data import tasks
from sentinel_research.data.mirror import VARIABLE
from sentinel_research.data.tasks import list_tasks, task_folder
from sentinel_research.errors import DataError
from sentinel_research.models.tiny import byte_tokenizer, tiny_model

OURS = [
    "sentinel_c4",
    "sentinel_gutenberg",
    "sentinel_pile",
    "sentinel_ptb",
    "sentinel_shakespeare",
    "sentinel_synthetic",
    "sentinel_tinystories",
    "sentinel_wikitext103",
    "sentinel_wikitext2",
]
VALIDATED = [
    *("c4", "gutenberg", "pile", "ptb"),
    *("shakespeare", "synthetic", "wikitext103", "wikitext2"),
]
TEXT = "It was the best of times, it was the worst of times. " * 9


def _manager() -> TaskManager:
    return TaskManager(include_path=str(task_folder()), include_defaults=False)


def _stock(dtype: torch.dtype = torch.float32, max_length: int | None = None) -> HFLM:
    model = tiny_model("gpt2").to(dtype).eval()
    return HFLM(
        model, tokenizer=byte_tokenizer(), batch_size=4, max_length=max_length, logits_cache=False
    )


def _evaluate(task: str, model: HFLM, limit: int | None = None) -> dict:
    return lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=_manager(), limit=limit, bootstrap_iters=10
    )


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror whose TinyStories has a test split of 300 short stories."""
    folder = tmp_path / "hub/roneneldan/TinyStories"
    folder.mkdir(parents=True)
    card = {
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "t.parquet"}]}
        ]
    }
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    # the first looks like a list, which lm-eval would parse if it were a template
    texts = ["unused"] * 2016 + ["[1, 2]"] + [f"Story {i}. " * (1 + i % 3) for i in range(299)]
    datasets.Dataset.from_dict({"text": texts}).to_parquet(folder / "t.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_every_task_file_is_listed_with_a_description() -> None:
    found = dict(list_tasks())
    assert set(OURS) <= set(found)
    assert all(found.values())
    files = {path.stem for path in task_folder().rglob("*.yaml")}
    assert files == set(found)


@pytest.mark.parametrize("corpus", VALIDATED)
def test_validation_task_differs_from_the_test_task_in_its_split_alone(corpus: str) -> None:
    index = _manager().task_index
    test, validation = (index[f"sentinel_{corpus}{end}"].cfg for end in ("", "_validation"))
    changed = {key for key in {*test, *validation} if test.get(key) != validation.get(key)}
    assert changed - {"include"} == {"task", "test_split", "dataset_kwargs", "metadata"}
    assert validation["test_split"] == "validation"
    assert validation["dataset_kwargs"] == {"corpus": corpus, "split": "validation"}


def test_validation_task_scores_the_validation_split() -> None:
    task = _manager().load(["sentinel_synthetic_validation"])["tasks"]
    documents = task["sentinel_synthetic_validation"].eval_docs
    assert [row["doc_id"] for row in documents][:2] == [
        "synthetic-validation-0",
        "synthetic-validation-1",
    ]


def test_lm_eval_finds_every_listed_task() -> None:
    index = _manager().task_index
    assert {name for name, _ in list_tasks()} <= set(index)


def test_installed_package_reads_its_own_copy_of_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_PACKAGE", tmp_path / "sentinel_research")
    with pytest.raises(DataError, match="task files are missing"):
        task_folder()
    (tmp_path / "sentinel_research/_tasks").mkdir(parents=True)
    # a folder named tasks beside an installed package is not ours
    (tmp_path / "tasks").mkdir()
    assert task_folder() == tmp_path / "sentinel_research/_tasks"
    (tmp_path / "pyproject.toml").touch()
    assert task_folder() == tmp_path / "tasks"


def test_task_without_description_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sentinel_research/_tasks").mkdir(parents=True)
    (tmp_path / "sentinel_research/_tasks/bad.yaml").write_text("task: bad\nmetadata: {version: 1}")
    monkeypatch.setattr(tasks, "_PACKAGE", tmp_path / "sentinel_research")
    with pytest.raises(DataError, match=r"bad\.yaml"):
        list_tasks()


@pytest.mark.parametrize("name", OURS)
def test_task_scores_a_column_and_never_reads_training_documents(name: str) -> None:
    (path,) = task_folder().rglob(f"{name}.yaml")
    own = yaml.load(path.read_text(), Loader=tasks._Loader)
    shared = yaml.load((path.parent / own["include"]).read_text(), Loader=tasks._Loader)
    config = {**shared, **own}
    assert config["doc_to_target"] == "text"
    assert "training_split" not in config
    assert "fewshot_split" not in config
    assert config["metadata"]["version"]
    metrics = [entry["metric"] for entry in config["metric_list"]]
    assert metrics[: len(shared["metric_list"])] == [m["metric"] for m in shared["metric_list"]]


@pytest.mark.parametrize("num_characters", [0, 1, 15, 16, 17, 100])
def test_rolling_log_likelihood_equals_a_loop_over_windows(num_characters: int) -> None:
    max_length = 16
    stock = _stock(torch.float64, max_length)
    text = TEXT[:num_characters]
    (found,) = stock.loglikelihood_rolling(
        [Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True
    )
    tokens = stock.tok_encode(text)
    # the first window is conditioned on the prefix token, the others on one token of the text;
    # the last is as long as the others and repeats tokens as context
    stream = [stock.prefix_token_id, *tokens]
    expected = 0.0
    for start in range(0, len(tokens), max_length):
        end = min(start + max_length, len(tokens))
        begin = max(0, end - max_length)
        with torch.no_grad():
            logits = stock.model(torch.tensor([stream[begin:end]])).logits[0].double()
        log_probs = logits.log_softmax(-1)
        for position in range(start, end):
            expected += float(log_probs[position - begin, stream[position + 1]])
    # both in float64; only the order of the sums differs
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_stock_model_gets_values_and_document_standard_errors(stories: Path) -> None:
    results = _evaluate("sentinel_tinystories", _stock())
    values = results["results"]["sentinel_tinystories"]
    samples = results["samples"]["sentinel_tinystories"]
    assert len(samples) == 300
    assert samples[0]["target"] == "[1, 2]"
    total = sum(sample["filtered_resps"][0] for sample in samples)
    words = sum(len(re.split(r"\s+", sample["doc"]["text"])) for sample in samples)
    assert values["word_perplexity,none"] == pytest.approx(math.exp(-total / words))
    assert 0 < values["word_perplexity_stderr,none"] < values["word_perplexity,none"]
    assert "token_perplexity,none" not in values
    rows = [row for row in make_table(results).splitlines() if "perplexity" in row]
    assert len(rows) == 2
    for row in rows:
        value, stderr = re.findall(r"\d+\.\d{4}", row)
        assert "±" in row
        assert float(stderr) < float(value)


def test_few_documents_of_a_stock_model_have_no_standard_error(stories: Path) -> None:
    results = _evaluate("sentinel_tinystories", _stock(), limit=3)
    values = results["results"]["sentinel_tinystories"]
    assert values["word_perplexity_stderr,none"] == "N/A"
    assert "N/A" in make_table(results)


def test_adapter_adds_token_perplexity_and_standard_errors_of_windows(stories: Path) -> None:
    from sentinel_research.evaluation.adapter import SentinelLM

    model = SentinelLM(
        tiny_model("gpt2").eval(), tokenizer=byte_tokenizer(), batch_size=4, max_length=2
    )
    results = _evaluate("sentinel_tinystories", model, limit=5)
    values = results["results"]["sentinel_tinystories"]
    assert values["token_perplexity,none"] > 1
    assert values["token_perplexity_stderr,none"] > 0
    assert values["word_perplexity_stderr,none"] > 0


def test_synthetic_samples_hold_what_the_leak_check_reads() -> None:
    from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
    from sentinel_research.evaluation.perplexity import leak_check

    language = SyntheticLanguage()
    tokenizer = word_tokenizer(language.vocabulary)
    model = tiny_model("gpt2", vocab_size=len(tokenizer), n_positions=128).eval()
    stock = HFLM(model, tokenizer=tokenizer, batch_size=8, logits_cache=False)
    results = _evaluate("sentinel_synthetic", stock, limit=25)
    samples = results["samples"]["sentinel_synthetic"]
    texts = [sample["doc"]["text"] for sample in samples]
    assert [sample["source_log_prob"] for sample in samples] == language.log_probs(texts).tolist()
    assert [s["log_likelihood"] for s in samples] == [s["filtered_resps"][0] for s in samples]
    check = leak_check(
        [sample["log_likelihood"] for sample in samples],
        [sample["source_log_prob"] for sample in samples],
    )
    assert check.z > 4
    values = results["results"]["sentinel_synthetic"]
    exact = math.exp(language.entropy_per_word)
    assert values["floor_entropy_rate_perplexity,none"] == pytest.approx(exact)
    floor, stderr = values["floor_perplexity,none"], values["floor_perplexity_stderr,none"]
    assert abs(floor - exact) < 4 * stderr
    assert floor < values["word_perplexity,none"]


def test_wikitext_numbers_are_those_of_lm_evals_own_task(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.tasks.wikitext import preprocess_wikitext

    from sentinel_research.data.corpora import load_corpus
    from sentinel_research.evaluation.perplexity import process_results

    monkeypatch.setenv(VARIABLE, str(mirror))
    ours = load_corpus("wikitext2", "test")
    folder = mirror / "EleutherAI/wikitext_document_level"
    theirs = datasets.load_dataset(str(folder), "wikitext-2-raw-v1", split="test")
    for doc, original in zip(ours, theirs, strict=True):
        assert doc["text"] == preprocess_wikitext.wikitext_detokenizer(original)
        expected = preprocess_wikitext.process_results(original, [-10.0])
        assert expected.items() <= process_results(doc, [-10.0]).items()


@pytest.mark.parametrize(
    ("task", "num_documents"),
    [("sentinel_gutenberg", 3), ("sentinel_wikitext2", 62), ("sentinel_ptb", 1)],
)
def test_real_task_has_its_documents(
    task: str, num_documents: int, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(mirror))
    loaded = _manager().load([task])["tasks"][task]
    assert len(loaded.eval_docs) == num_documents


@pytest.mark.slow
def test_plain_lm_eval_command_evaluates_a_real_model(mirror: Path, real_models: Path) -> None:
    model = real_models / "shakespeare-char-gpt2-4l"
    command = [
        str(Path(sys.executable).with_name("lm_eval")),
        *("--model", "hf", "--tasks", "sentinel_shakespeare", "--device", "cpu"),
        *("--model_args", f"pretrained={model},prefix_token_id=0,logits_cache=False"),
        *("--include_path", str(task_folder()), "--batch_size", "64"),
    ]
    environment = {**os.environ, VARIABLE: str(mirror)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "bits_per_byte" in line]
    # DATA.md reports 2.66 bits a character for this model on this text
    assert float(re.findall(r"\d+\.\d{4}", row)[0]) == pytest.approx(2.66, abs=0.05)
