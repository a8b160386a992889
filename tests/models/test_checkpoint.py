"""Saving: complete or not at all, never a lost mask, never a lost head."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import check_checkpoint, load_stored, save, structure_of
from sentinel_research.models.checkpoint import find_folder
from sentinel_research.models.pruned import PRUNED_CLASSES
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.pruning import PruningPlan, make_plan, mask, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import ModelSpec

# one emptied layer, one without its feed-forward block, one whole; groups unequal where there are
HEADS = [[], [0, 1, 2], [3, 4]]
NEURONS = [[0, 3, 36], [], [1, 2]]


def _plan(model: PreTrainedModel) -> PruningPlan:
    return make_plan(
        structure_of(model.config), HEADS, neurons=NEURONS, without={"ffn": [1]}, scorer="mine"
    )


@pytest.fixture(params=FAMILIES)
def pruned(request: pytest.FixtureRequest) -> PreTrainedModel:
    model = tiny_model(request.param)
    return remove(model, _plan(model))


def test_pruned_checkpoint_loads_with_its_plan(pruned: PreTrainedModel, tmp_path: Path) -> None:
    save(pruned, byte_tokenizer(), tmp_path / "new" / "model")
    model, tokenizer, report = load_stored(ModelSpec(pretrained=str(tmp_path / "new" / "model")))
    inputs = probe_inputs(pruned)
    assert torch.equal(model(**inputs).logits, pruned(**inputs).logits)
    assert tokenizer.decode(tokenizer.encode("déjà vu")) == "déjà vu"
    assert report["model_type"] == pruned.config.model_type
    assert report["kept_heads"] == HEADS
    assert report["num_neurons"] == [3, 0, 2]
    assert report["pruning"]["scorer"] == "mine"
    assert structure_of(model.config) == structure_of(pruned.config)


def test_pruned_checkpoint_holds_safetensors_and_the_remote_file(
    pruned: PreTrainedModel, tmp_path: Path
) -> None:
    save(pruned, byte_tokenizer(), tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "sentinel_remote.py", "tokenizer.json"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt"))}
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["auto_map"]["AutoModelForCausalLM"].startswith("sentinel_remote.Pruned")
    assert config["per_layer_config"] == {
        "0": {"kept_heads": [], "kept_neurons": [0, 3, 36]},
        "1": {"kept_heads": [0, 1, 2], "kept_neurons": [], "skip": ["ffn"]},
        "2": {"kept_heads": [3, 4], "kept_neurons": [1, 2]},
    }
    # the counts of the dense model keep their meaning
    dense = tiny_model(config["model_type"].removeprefix("pruned_")).config.to_dict()
    counts = [key for key in dense if "head" in key or "inner" in key or "intermediate" in key]
    assert counts
    assert {key: config[key] for key in counts} == {key: dense[key] for key in counts}


def test_configuration_of_pruned_heads_alone_names_nothing_else(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    pruned = remove(model, make_plan(structure_of(model.config), HEADS))
    save(pruned, byte_tokenizer(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["per_layer_config"] == {str(i): {"kept_heads": h} for i, h in enumerate(HEADS)}


def test_pruned_checkpoint_cannot_be_loaded_as_the_dense_family(
    pruned: PreTrainedModel, tmp_path: Path
) -> None:
    folder = save(pruned, byte_tokenizer(), tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["model_type"] = config["model_type"].removeprefix("pruned_")
    del config["per_layer_config"]
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not match its config"):
        load_stored(ModelSpec(pretrained=str(folder)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kept_heads", [3], "of another shape"),
        ("kept_neurons", [1], "of another shape"),
        ("skip", ["ffn"], "cannot keep neurons"),
        ("kept_heads", [4, 3], "ascending"),
        ("kept_heads", [3, 99], "names head 99"),
    ],
    ids=["heads", "neurons", "block", "order", "range"],
)
def test_parts_that_do_not_match_the_weights_are_refused(
    pruned: PreTrainedModel, key: str, value: object, message: str, tmp_path: Path
) -> None:
    folder = save(pruned, byte_tokenizer(), tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["per_layer_config"]["2"][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_stored(ModelSpec(pretrained=str(folder)))


def test_model_built_from_a_configuration_is_initialised(pruned: PreTrainedModel) -> None:
    model_class = PRUNED_CLASSES[pruned.config.model_type.removeprefix("pruned_")][1]
    fresh = model_class(pruned.config)
    for name, parameter in fresh.named_parameters():
        assert parameter.isfinite().all(), name
        if parameter.ndim == 2 and parameter.numel() > 100:
            # the family's own initialisation, not torch's default
            assert 0.3 * 0.02 < float(parameter.detach().std()) < 1.5 * 0.02, name
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in model_class(pruned.config).named_parameters()}
    assert shapes == {n: p.shape for n, p in pruned.named_parameters()}


def test_sharded_checkpoint_is_checked_and_loaded(pruned: PreTrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    pruned.save_pretrained(folder, max_shard_size="30KB")
    files = check_checkpoint(folder)
    assert len(files) > 1
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    inputs = probe_inputs(pruned)
    assert torch.equal(loaded(**inputs).logits, pruned(**inputs).logits)


def test_masked_model_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    masked = mask(model, _plan(model))
    with pytest.raises(UsageError, match="masked model cannot be saved") as caught:
        save(masked, byte_tokenizer(), tmp_path / "model")
    assert "form='remove'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept_unless_overwriting(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save(tiny_model("gpt2"), byte_tokenizer(), folder)
    (folder / "note.txt").write_text("old")
    with pytest.raises(UsageError, match="exists"):
        save(tiny_model("llama"), byte_tokenizer(), folder)
    assert (folder / "note.txt").exists()
    save(tiny_model("llama"), byte_tokenizer(), folder, overwrite=True)
    assert load_stored(ModelSpec(pretrained=str(folder))).report["model_type"] == "llama"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_interrupted_save_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = byte_tokenizer()

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tokenizer), "save_pretrained", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tiny_model("gpt2"), tokenizer, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_is_found_by_name_in_the_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "collection" / "mine")
    monkeypatch.setenv("SENTINEL_MODELS", str(tmp_path / "collection"))
    assert find_folder("mine") == tmp_path / "collection" / "mine"


def test_name_never_leaves_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "collection").mkdir()
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "outside")
    monkeypatch.setenv("SENTINEL_MODELS", str(tmp_path / "collection"))
    monkeypatch.chdir("/")
    with pytest.raises(CheckpointError):
        find_folder("../outside")


def test_misspelt_name_is_compared_with_the_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "stories")
    monkeypatch.setenv("SENTINEL_MODELS", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        find_folder("storeis")
    assert "stories" in caught.value.hint
