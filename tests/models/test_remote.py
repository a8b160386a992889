"""Pruned checkpoints in processes that have never heard of this package."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models import save, structure_of
from sentinel_research.models.agency import add_agency, withdraw_consent
from sentinel_research.models.sentinel import SentinelConfig, SentinelModel
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.pruning import make_plan, remove
from sentinel_research.specs import AgencySpec
from tests.models.agency import disturb

# one worker reads what one process printed
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("remote")]

# an emptied layer 0, unequal groups, and a block that is gone
HEADS = [[], [0, 1, 2], [3, 4]]
NEURONS = [[0, 3, 36], [], [1, 2]]
TEXTS = ["To be, or not to be", "that is the question", "whether 'tis nobler"]

# the libraries are loaded once, and each folder in a process of its own that has heard of no other
LOAD = """
import gc, json, numba, os, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, LlamaForCausalLM
gc.freeze()
for folder in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        break
    assert os.waitpid(child, 0)[1] == 0, folder
else:
    sys.exit()
assert not any(name.startswith("sentinel_research.models") for name in sys.modules)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = torch.tensor([tokenizer.encode("To be, or not to be")])
# saving what was loaded by remote code must not replace the one-line module by a copied one
model.save_pretrained(folder + "-again")
print(json.dumps([type(model).__name__, model(ids).logits.tolist()]), flush=True)
# without taking the libraries apart, which takes seconds
os._exit(0)
"""


def _pruned(family: str) -> PreTrainedModel:
    model = tiny_model(family)
    structure = structure_of(model.config)
    return remove(model, make_plan(structure, HEADS, neurons=NEURONS, without={"ffn": [1]}))


def _run(arguments: list[str], home: Path) -> str:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_MODULES_CACHE", None)
    done = subprocess.run(arguments, env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Loaded(NamedTuple):
    """What a process that knows transformers alone read from a folder."""

    name: str
    logits: Tensor


def _saved(name: str) -> PreTrainedModel:
    """A model by the name of its folder."""
    if name == "mixers":
        return tiny_model("sentinel", mixers=["resolvent", "agency", "attention"])
    if name == "gated":
        spec = AgencySpec(gate="input", skips=True, baseline="other")
        model = disturb(add_agency(_pruned("gpt2"), spec, baseline=tiny_model("gpt2", seed=1)))
        withdraw_consent(model, [(2, 3)])
        return model
    return _pruned(name)


def _load(names: Sequence[str], home: Path) -> dict[str, Loaded]:
    folders = [str(save(_saved(name), byte_tokenizer(), home / name)) for name in names]
    lines = _run([sys.executable, "-c", LOAD, *folders], home).splitlines()
    pairs = zip(names, map(json.loads, lines), strict=True)
    return {name: Loaded(kind, torch.tensor(logits)) for name, (kind, logits) in pairs}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with every stored model and what was stored again after loading it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def loaded(home: Path) -> dict[str, Loaded]:
    """One family, gates, and mixers, each read without this package."""
    return _load(["llama", "gated", "mixers"], home)


def _assert_same(found: Loaded, model: PreTrainedModel) -> None:
    ids = torch.tensor([byte_tokenizer().encode(TEXTS[0])])
    assert torch.equal(found.logits, model(ids).logits)


def _assert_names_the_package(home: Path, family: str) -> None:
    folders = [home / family, home / f"{family}-again"]
    assert sorted(p.name for p in folders[1].glob("*.py")) == ["sentinel_remote.py"]
    maps = [json.loads((f / "config.json").read_text())["auto_map"] for f in folders]
    assert maps[0] == maps[1]


def test_folder_loads_with_trust_remote_code_alone(loaded: dict[str, Loaded], home: Path) -> None:
    model = _saved("llama")
    assert loaded["llama"].name == type(model).__name__
    _assert_same(loaded["llama"], model)
    _assert_names_the_package(home, "llama")


# one family is enough for every run
@pytest.mark.slow
def test_folder_of_every_family_loads_with_trust_remote_code_alone(tmp_path: Path) -> None:
    families = [family for family in FAMILIES if family != "llama"]
    for family, found in _load(families, tmp_path).items():
        model = _saved(family)
        assert found.name == type(model).__name__
        _assert_same(found, model)
        _assert_names_the_package(tmp_path, family)


def test_gated_and_pruned_folder_loads_with_trust_remote_code_alone(
    loaded: dict[str, Loaded],
) -> None:
    assert loaded["gated"].name == "AgencyGPT2LMHeadModel"
    _assert_same(loaded["gated"], _saved("gated"))


def test_model_with_mixers_loads_with_trust_remote_code_alone(loaded: dict[str, Loaded]) -> None:
    assert loaded["mixers"].name == "SentinelForCausalLM"
    _assert_same(loaded["mixers"], _saved("mixers"))


LOAD_PARTS = """
import sys
from transformers import AutoConfig, AutoModel
assert not any(name.startswith("sentinel_research.models") for name in sys.modules)
folder, alone, again = sys.argv[1:]
config = AutoConfig.from_pretrained(alone, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
config.save_pretrained(again)
print(type(config).__name__, type(model).__name__)
"""


def test_encoder_and_configuration_alone_load_with_trust_remote_code(tmp_path: Path) -> None:
    model = SentinelModel(SentinelConfig(hidden_size=24, mixers="resolvent", num_hidden_layers=4))
    folder, alone, again = (tmp_path / name for name in ("model", "alone", "again"))
    model.save_pretrained(folder)
    model.config.save_pretrained(alone)
    printed = _run([sys.executable, "-c", LOAD_PARTS, *map(str, (folder, alone, again))], tmp_path)
    assert printed.split() == ["SentinelConfig", "SentinelModel"]
    for name in ("config.json", "sentinel_remote.py"):
        assert (again / name).read_text() == (alone / name).read_text()


@pytest.mark.parametrize("kind", ["mixers", "pruned", "gated"])
def test_module_is_there_when_a_model_is_pushed_to_a_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network: what would be uploaded is listed."""
    pruned = _pruned("llama")
    model = {
        "mixers": lambda: tiny_model("sentinel"),
        "pruned": lambda: pruned,
        "gated": lambda: add_agency(pruned, AgencySpec(gate="static")),
    }[kind]()
    uploaded: list[str] = []

    def upload(_model: object, folder: str, *_: object, **__: object) -> None:
        uploaded.extend(path.name for path in Path(folder).iterdir())

    hub = SimpleNamespace(create_repo=lambda *_, **__: SimpleNamespace(repo_id="someone/model"))
    monkeypatch.setattr("transformers.modeling_utils.hf_api", lambda: hub)
    monkeypatch.setattr(type(model), "_upload_modified_files", upload)
    model.save_pretrained(str(tmp_path / "model"), push_to_hub=True)
    assert {"config.json", "model.safetensors", "sentinel_remote.py"} <= set(uploaded)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """An lm-eval task over three lines of text, offline."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "lines.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    (folder / "lines.yaml").write_text(
        "task: three_lines\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {folder / 'lines.jsonl'}}}}}\n"
        "test_split: test\n"
        "output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\n'
        'doc_to_target: "{{text}}"\n'
        "metric_list: [{metric: byte_perplexity}, {metric: bits_per_byte}]\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_lm_eval_gives_the_numbers_of_the_model_in_memory(
    family: str, task: Path, tmp_path: Path
) -> None:
    model = _pruned(family)
    folder = save(model, byte_tokenizer(), tmp_path / "model")
    _run(
        [
            *(sys.executable, "-m", "lm_eval", "--model", "hf", "--batch_size", "1"),
            *("--model_args", f"pretrained={folder},trust_remote_code=True,dtype=float32"),
            *("--tasks", "three_lines", "--include_path", str(task), "--device", "cpu"),
            *("--output_path", str(tmp_path / "out"), "--log_samples"),
        ],
        tmp_path,
    )
    (results,) = (tmp_path / "out").rglob("results_*.json")
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    found = [json.loads(line)["resps"][0][0] for line in samples.read_text().splitlines()]
    assert json.loads(results.read_text())["results"]["three_lines"]["bits_per_byte,none"] > 0
    tokenizer = byte_tokenizer()
    for text, value in zip(TEXTS, found, strict=True):
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text)]])
        logits = model(ids[:, :-1]).logits.log_softmax(dim=-1)
        expected = logits.gather(2, ids[:, 1:, None]).sum().item()
        assert float(value[0] if isinstance(value, list) else value) == pytest.approx(
            expected, rel=1e-6
        )
