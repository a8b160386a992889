"""`sentinel downstream`: its flags, its files, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.downstream_command.recipes import downstream_recipe
from sentinel_research.downstream_command.request import DownstreamRequest
from sentinel_research.downstream_command.results import downstream_result
from sentinel_research.errors import UsageError
from sentinel_research.record import RunRecord

pytestmark = pytest.mark.long

SMALL = [
    *("--batch_size", "4", "--epochs", "1", "--seq_len", "96", "--quiet"),
    *("--seeds", "1", "2", "--lr", "0.003"),
]


def _read(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return dict(json.loads(path.read_text(), parse_constant=refuse))


def test_file_has_the_published_fields_and_the_spread_over_seeds(
    lessons: Path, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    words = ["--tasks", "squad", "sentinel_sst2", "--model_name", f"tiny={checkpoints['gpt2-0']}"]
    assert main(["downstream", *words, *SMALL, "--output_dir", str(tmp_path)]) == 0
    found = _read(tmp_path / "tiny_downstream.json")
    assert (found["model_name"], found["status"]) == ("tiny", "done")
    assert found["glue"] is None
    assert found["mmlu"] is None
    assert set(found["squad"]) == {"em", "f1", "dataset_size"}
    assert 0 <= found["squad"]["em"] <= found["squad"]["f1"] <= 1
    assert found["squad"]["dataset_size"] == 8
    assert set(found["other"]) == {"sentinel_sst2"}
    assert found["seed_values"] == [1, 2]
    assert len(found["seeds"]["sentinel_sst2"]) == 2
    assert found["intervals"]["sentinel_sst2"]["low"] is not None
    assert set(found["majority"]) == {"sentinel_sst2"}
    record = RunRecord.read((tmp_path / found["provenance"]["record"]).parent)
    assert record.recipe_fingerprint == found["provenance"]["recipe_fingerprint"]


def test_families_are_named_as_published(finished: RunRecord) -> None:
    changed = finished.model_copy(deep=True)
    assert changed.downstream is not None
    tasks = ["sentinel_sst2", "sentinel_rte"]
    changed.downstream["groups"] = {
        "sentinel_glue": {"tasks": tasks, "averages": {"score": False}},
        "sentinel_mmlu": {"tasks": tasks, "averages": {"acc": True}},
    }
    found = downstream_result("gpt2", changed, Path("runs"), {})
    assert found.glue is not None
    assert set(found.glue) == {"sst2", "rte", "average"}
    assert found.glue["average"] == pytest.approx((found.glue["sst2"] + found.glue["rte"]) / 2)
    assert found.mmlu is not None
    assert found.mmlu.num_subjects_evaluated == 2
    sizes = {"sentinel_sst2": 6, "sentinel_rte": 4}
    weighted = sum(found.glue[task.removeprefix("sentinel_")] * sizes[task] for task in tasks) / 10
    assert found.mmlu.accuracy == pytest.approx(weighted)


def test_dry_run_names_documents_and_models(
    lessons: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--tasks", "sentinel_cola", "--model_name", checkpoints["gpt2-0"]]
    words += ["--output_dir", str(tmp_path / "none"), "--dry_run"]
    assert main(["downstream", *words, *SMALL]) == 0
    out = capsys.readouterr().out
    assert "8 documents to train on, 1 held out, 3 left out that are evaluated too" in out
    assert "sentinel_cola-gpt2-0-seed2" in out
    assert not (tmp_path / "none").exists()


def test_models_of_a_comparison_come_with_their_seeds(tmp_path: Path) -> None:
    record = {
        "name": "c",
        "recipe": {"compare": {"seeds": [3, 4], "architectures": {"a": {}, "b": {}}}},
        "recipe_fingerprint": "x",
        "synthetic_data": False,
        "started_at": "now",
        "environment": {},
        "comparison": {"models": {}, "learning_rates": {}},
        "cells": [
            {
                "id": f"{name}-{seed}",
                "prune_spec": None,
                "status": "done",
                "arm": {"name": name, "seed": seed, "learning_rate": 0.1},
                "model_folder": f"cells/{name}-{seed}/model",
            }
            for name in ("a", "b")
            for seed in (3, 4)
        ],
    }
    (tmp_path / "record.json").write_text(json.dumps({"schema_version": 1, **record}))
    recipe = downstream_recipe(DownstreamRequest(tasks=("glue",), run=tmp_path))
    assert recipe.downstream is not None
    assert recipe.downstream.seeds == [3, 4]
    assert recipe.downstream.checkpoint("b", 4) == str(tmp_path / "cells/b-4/model")
    only = downstream_recipe(DownstreamRequest(tasks=("glue",), run=tmp_path, model_name=("b",)))
    assert only.downstream is not None
    assert list(only.downstream.models) == ["b"]
    with pytest.raises(UsageError, match="it compares a, b"):
        downstream_recipe(DownstreamRequest(tasks=("glue",), run=tmp_path, model_name=("c",)))
    record["cells"][0]["model_folder"] = None  # type: ignore[index]
    (tmp_path / "record.json").write_text(json.dumps({"schema_version": 1, **record}))
    with pytest.raises(UsageError, match="no model of 'a' with seed 3"):
        downstream_recipe(DownstreamRequest(tasks=("glue",), run=tmp_path))


def test_mmlu_is_learnt_by_one_model_and_the_others_task_by_task() -> None:
    request = DownstreamRequest(tasks=("glue", "superglue", "squad", "mmlu"), model_name=("m",))
    recipe = downstream_recipe(request)
    assert recipe.downstream is not None
    assert recipe.downstream.together == ["sentinel_mmlu"]
    assert recipe.evaluate.tasks == [
        *("sentinel_glue", "sentinel_superglue", "sentinel_squad", "sentinel_mmlu")
    ]


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--tasks", "glue"], ["`model_name`, or the folder of a comparison as `run`"]),
        (["--tasks", "glue", "--run", "b", "--seed", "1"], ["leave `seed` and `seeds` out"]),
        (["--tasks", "glue", "--model_name", "x/a", "y/a"], ["2 models would be called 'a'"]),
        (["--tasks", "glue", "glue", "--model_name", "a"], ["`tasks` names a value twice"]),
        (["--tasks", "glue", "--model_name", "a", "--lr", "0"], ["`lr` must be above 0"]),
        (["--tasks", "record", "--model_name", "a"], ["Name sentinel_record in its place"]),
        (["--tasks", "glue", "--run", "nowhere"], ["cannot read nowhere/record.json"]),
    ],
)
def test_bad_flags_are_refused_with_what_to_do(
    words: list[str],
    messages: list[str],
    lessons: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert main(["downstream", *words, "--quiet", "--output_dir", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert all(message in err for message in messages)
    assert "Traceback" not in err
