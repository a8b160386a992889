"""Loading: what is reported, and every way in which a checkpoint can be wrong."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import check_checkpoint, load_stored, load_tokenizer, save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.specs import ModelSpec

# one worker stores the model once
pytestmark = pytest.mark.xdist_group("load")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    return save(tiny_model("gpt2"), byte_tokenizer(), folder)


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny-gpt2"))


def _load(folder: Path, **options: object) -> object:
    return load_stored(ModelSpec(pretrained=str(folder), **options))


def test_loaded_model_computes_what_the_saved_one_did(folder: Path) -> None:
    model, tokenizer, report = _load(folder)
    ids = torch.tensor([tokenizer.encode("some text")])
    assert torch.equal(model(ids).logits, tiny_model("gpt2")(ids).logits)
    assert not model.training
    assert report["model_type"] == "gpt2"
    assert report["num_parameters"] == tiny_model("gpt2").num_parameters()
    assert report["dtype"] == "float32"
    assert report["device"] == "cpu"
    assert len(report["weights_sha256"]["model.safetensors"]) == 64
    assert "pruning" not in report
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [
        ("dtype", "bfloat16", lambda model: model.dtype == torch.bfloat16),
        ("dtype", "auto", lambda model: model.dtype == torch.float32),
        ("attn_implementation", "eager", lambda m: m.config._attn_implementation == "eager"),
    ],
    ids=["bfloat16", "auto", "eager"],
)
def test_options_are_honoured(folder: Path, option: str, value: str, found: object) -> None:
    assert found(_load(folder, **{option: value}).model)


@pytest.mark.parametrize("keep", [0, 5, 300, -1], ids=["empty", "prefix", "header", "one_byte"])
def test_truncated_weights_are_refused_with_their_size(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors") as caught:
        _load(folder)
    assert f"{len(content[:keep]):,} bytes" in caught.value.message
    if keep == -1:
        assert f"promises {len(content):,}" in caught.value.message


def test_weights_with_bytes_appended_are_refused(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="its header promises"):
        check_checkpoint(folder)


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", (9).to_bytes(8, "little") + b"{not json"],
    ids=["lfs_pointer", "header"],
)
def test_file_that_is_not_safetensors_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        check_checkpoint(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"whatever")
    with pytest.raises(
        CheckpointError, match=r"only pickled weights \(pytorch_model\.bin"
    ) as caught:
        _load(folder)
    assert "save_pretrained" in caught.value.hint


def test_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        _load(folder)


@pytest.mark.parametrize("name", ["config.json"])
def test_folder_without_configuration_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"holds no {name}"):
        _load(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_unreadable_configuration_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json is not"):
        _load(folder)


def test_unknown_model_type_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no_such_family"}')
    with pytest.raises(CheckpointError, match="cannot load a causal language model"):
        _load(folder)


def test_missing_shard_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="lacks 1 of 2 weight files: model-00002"):
        _load(folder)


def _edit_weights(folder: Path, edit: object) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("transformer.ln_f.bias"), r"1 missing \(transformer\.ln_f\.bias\)"),
        (lambda w: w.update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (
            lambda w: w.update({"transformer.ln_f.bias": torch.ones(7)}),
            r"1 of another shape \(transformer\.ln_f\.bias\)",
        ),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_weights_that_do_not_match_the_configuration_are_refused(
    folder: Path, edit: object, message: str
) -> None:
    _edit_weights(folder, edit)
    with pytest.raises(CheckpointError, match=message):
        _load(folder)


def test_missing_folder_names_the_nearest_sibling(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder at") as caught:
        _load(folder.parent / "tiny-gtp2")
    assert f"Did you mean '{folder}'?" in caught.value.hint
    with pytest.raises(CheckpointError) as caught:
        _load(folder.parent / "nowhere" / "tiny-gpt2")
    assert "does not exist either" in caught.value.hint


def test_hub_id_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="'nobody/no-such-model'") as caught:
        load_stored(ModelSpec(pretrained="nobody/no-such-model"))
    assert "hf download nobody/no-such-model" in caught.value.hint
    with pytest.raises(CheckpointError, match="neither a local folder"):
        load_stored(ModelSpec(pretrained="-not a hub id-"))


def test_architecture_has_nothing_to_load() -> None:
    with pytest.raises(UsageError, match="'gpt2' has no weights to load"):
        load_stored(ModelSpec(architecture="gpt2"))
    with pytest.raises(UsageError, match="names no tokenizer"):
        load_tokenizer(ModelSpec(architecture="gpt2"))


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_absent_device_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device}'"):
        _load(folder, device=device)


def test_tokenizer_can_live_elsewhere(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "tokenizer"
    byte_tokenizer().save_pretrained(elsewhere)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        _load(folder)
    assert len(_load(folder, tokenizer=str(elsewhere)).tokenizer) == 259


def test_tokenizer_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot load a tokenizer"):
        _load(folder)


def test_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    larger = byte_tokenizer()
    larger.add_tokens(["<more>"])
    larger.save_pretrained(tmp_path / "larger")
    with pytest.raises(CheckpointError, match="tokenizer has 260 tokens, the model only 259"):
        _load(folder, tokenizer=str(tmp_path / "larger"))


def test_byte_tokenizer_is_named_bytes_and_needs_no_folder() -> None:
    tokenizer = load_tokenizer(ModelSpec(architecture="gpt2", tokenizer="bytes"))
    assert tokenizer.get_vocab() == byte_tokenizer().get_vocab()


def test_weights_are_rounded_after_loading_where_the_spec_asks(folder: Path) -> None:
    from sentinel_research.pruning import load as load_any
    from sentinel_research.specs import QuantiseSpec

    spec = ModelSpec(pretrained=str(folder), quantise=QuantiseSpec(bits=3))
    loaded = load_any(spec)
    assert loaded.report["quantised"]["bits"] == 3
    weight = loaded.model.get_parameter("transformer.h.0.mlp.c_fc.weight")
    assert all(len(column.unique()) <= 7 for column in weight.T)
