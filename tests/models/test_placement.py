"""A model over memory and disk gives the numbers of the same model in memory."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.utils import simple_parse_args_string
from transformers import PreTrainedModel

from sentinel_research.cli import main
from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.arguments import placing_from_args
from sentinel_research.evaluation.caches import goes_on
from sentinel_research.models import save, structure_of
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import bake, load, make_plan, prune
from sentinel_research.quantisation import store_small
from sentinel_research.recipe import load_evaluation
from sentinel_research.specs import AgencySpec, ModelSpec, PruneSpec, StoreSpec
from tests.contract.scores import scores

# one worker has the folder
pytestmark = pytest.mark.xdist_group("placement")
# the last layer and the norm behind it
PARTS = ("wte", "wpe", "drop", "h.0", "h.1", "h.2", "ln_f")
ON_DISK = {f"transformer.{part}": "cpu" for part in PARTS} | {"lm_head": "cpu"}
ON_DISK |= {"transformer.h.2": "disk", "transformer.ln_f": "disk"}
PAIRS = [([1, 2, 3], [4, 5]), ([1, 2, 3], [6]), ([7], [8, 9, 10]), ([1, 2, 3, 4], [5])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned model, whose layers have different widths."""
    asked = PruneSpec(scorer="magnitude_l2", fraction=0.4, scope="global", min_per_layer=0)
    model = prune(tiny_model("gpt2", seed=3), asked).model
    return save(model, byte_tokenizer(), tmp_path_factory.mktemp("placed") / "model")


def _lm(folder: Path, **options: Any) -> SentinelLM:
    return SentinelLM(
        str(folder), device="cpu", prefix_token_id=10, quiet=True, batch_size=2, **options
    )


def _on_disk(model: PreTrainedModel) -> int:
    return sum(one.is_meta for one in model.parameters())


def test_layers_on_the_disk_give_the_scores_of_layers_in_memory(folder: Path) -> None:
    placed = load(ModelSpec(pretrained=str(folder), device_map=ON_DISK))
    assert _on_disk(placed.model) > 5
    assert placed.report["places"] == {"cpu": len(placed.model.hf_device_map) - 2, "disk": 2}
    assert goes_on(placed.model)
    ours = SentinelLM(
        placed.model, tokenizer=placed.tokenizer, prefix_token_id=10, quiet=True, batch_size=2
    )
    # the same kernels on the same shapes
    assert scores(ours, PAIRS) == scores(_lm(folder), PAIRS)


def test_memory_that_is_too_small_sends_the_rest_to_the_disk(folder: Path) -> None:
    whole = _lm(folder)
    placed = _lm(folder, device_map="auto", max_cpu_memory="60KB")
    assert 0 < _on_disk(placed.model) < len(list(placed.model.parameters()))
    assert scores(placed, PAIRS) == scores(whole, PAIRS)
    assert not _on_disk(_lm(folder, device_map="auto").model)


def test_command_measures_a_spread_model_as_a_whole_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(folder), "--tasks", "sentinel_synthetic", "--limit", "2"]
    words += ["--prefix_token_id", "10", "--quiet"]
    found = []
    for name, more in (
        ("whole", []),
        ("placed", ["--device_map", "auto", "--set", "model.max_memory={cpu: 60KB}"]),
    ):
        assert main([*words, *more, "--output", str(tmp_path / name)]) == 0
        record = json.loads((tmp_path / name / "record.json").read_text())
        found.append(record["cells"][0]["evaluation"]["measurements"])
        assert ("places" in record["load"]) == (name == "placed")
    assert found[0] == found[1]
    capsys.readouterr()


def test_spread_model_keeps_the_zeros_of_baking(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    baked = bake(model, make_plan(structure_of(model.config), [[0], [], []]))
    path = str(save(baked, byte_tokenizer(), tmp_path / "baked"))
    assert load(ModelSpec(pretrained=path)).report["shrunk"]
    assert "shrunk" not in load(ModelSpec(pretrained=path, device_map=ON_DISK)).report


def test_commands_of_the_page_on_scale_are_understood(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from accelerate.commands.launch import launch_command_parser

    page = Path(__file__).parents[2].joinpath("docs", "scale.md").read_text()
    text = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    seen = set()
    for command in text.splitlines():
        program, *words = shlex.split(command.replace("MODEL", str(folder)))
        seen.add(program)
        if program == "accelerate":
            found = launch_command_parser().parse_args(words[1:])
            assert (found.training_script, found.num_processes) == ("sentinel_research", 32)
        elif program == "sentinel":
            more = [] if words[0] == "ls" else ["--set", "evaluate.tasks=[sentinel_synthetic]"]
            has_gpus = "--set" not in words or torch.cuda.device_count() > 1
            code = main([*words, *more, *(["--dry-run"] if more else [])])
            assert code == (0 if has_gpus else 2)
        else:
            arguments = simple_parse_args_string(words[words.index("--model_args") + 1])
            assert placing_from_args(arguments, {})["device_map"] == "auto"
            assert arguments == {"pretrained": str(folder), "dtype": "bfloat16"}
    assert seen == {"accelerate", "sentinel", "lm_eval"}
    shown = capsys.readouterr()
    assert re.search(r"device_map +auto", shown.out)
    assert torch.cuda.device_count() > 1 or "GPU 0 was given a part of the model" in shown.err


def test_spread_model_is_not_pruned_but_refused(folder: Path) -> None:
    placed = load(ModelSpec(pretrained=str(folder), device_map=ON_DISK)).model
    with pytest.raises(UsageError, match="was offloaded to disk") as caught:
        prune(placed, PruneSpec(scorer="magnitude_l2", fraction=0.2))
    assert "without device_map" in caught.value.hint
    with pytest.raises(UsageError, match="over devices, and prune was given"):
        _lm(folder, device_map="auto", prune="magnitude_l2", prune_fraction=0.2)
    with pytest.raises(UsageError, match="and bits was given"):
        _lm(folder, device_map="auto", bits=8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("prune={scorers: [magnitude_l2], fractions: [0.5]}", "`prune` needs it whole"),
        ("evaluate.cache=answers", "`evaluate.cache` reads a model that is whole"),
        ("model.bits=8", "`bits` changes weights where they are"),
        ("model.agency={gate: static}", "`agency` changes weights where they are"),
    ],
)
def test_recipe_that_needs_the_model_whole_is_refused(change: str, said: str, folder: Path) -> None:
    settings = {"evaluate.tasks": ["sentinel_synthetic"], "model.device_map": "auto"}
    load_evaluation(str(folder), settings, [])
    with pytest.raises(UsageError, match=said):
        load_evaluation(str(folder), settings, [change])


@pytest.mark.parametrize("kind", ["mamba", "gates", "stored"])
def test_models_whose_layers_read_the_weights_of_others_are_refused(
    kind: str, tmp_path: Path
) -> None:
    model = tiny_model("mamba" if kind == "mamba" else "gpt2")
    if kind == "gates":
        model = add_agency(model, AgencySpec(gate="static"))
    if kind == "stored":
        store_small(model, StoreSpec(bits=8, activations="float"))
    path = save(model, byte_tokenizer(), tmp_path / "model")
    said = "stored in a few bits" if kind == "stored" else "is for layers of attention"
    with pytest.raises(UsageError, match=said):
        load(ModelSpec(pretrained=str(path), device_map="auto"))


def test_embeddings_on_the_disk_are_refused(folder: Path) -> None:
    places = {**ON_DISK, "transformer.wte": "disk", "lm_head": "disk"}
    with pytest.raises(UsageError, match="left the embeddings outside"):
        load(ModelSpec(pretrained=str(folder), device_map=places))


def test_places_that_do_not_fit_the_model_are_refused(folder: Path) -> None:
    twice = {"": "cpu", "transformer.h.2": "disk"}
    with pytest.raises(CheckpointError) as caught:
        load(ModelSpec(pretrained=str(folder), device_map=twice))
    assert "name a place for every part once" in caught.value.hint


def test_several_processes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes were started"):
        load(ModelSpec(pretrained=str(folder), device_map="auto"))


def test_places_leave_fingerprints_of_older_recipes_alone() -> None:
    whole = ModelSpec(pretrained="somewhere")
    assert "device_map" in whole.model_dump()
    assert whole.fingerprint() == ModelSpec(pretrained="somewhere", device_map=None).fingerprint()
    assert whole.fingerprint() != ModelSpec(pretrained="somewhere", device_map="auto").fingerprint()
