"""Pruned checkpoints in processes that have never heard of this package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.models import save, structure_of
from sentinel_research.models.agency import add_agency, withdraw_consent
from sentinel_research.models.sentinel import SentinelConfig, SentinelModel
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.pruning import make_plan, remove
from sentinel_research.specs import AgencySpec
from tests.models.agency import disturb

# an emptied layer 0, unequal groups, and a block that is gone
HEADS = [[], [0, 1, 2], [3, 4]]
NEURONS = [[0, 3, 36], [], [1, 2]]
TEXTS = ["To be, or not to be", "that is the question", "whether 'tis nobler"]

LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
assert not any(name.startswith("sentinel_research.models") for name in sys.modules)
folder, again = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = torch.tensor([tokenizer.encode("To be, or not to be")])
# saving what was loaded by remote code must not replace the one-line module by a copied one
model.save_pretrained(again)
print(json.dumps([type(model).__name__, model(ids).logits.tolist()]))
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


# a fresh interpreter imports transformers: one family is enough for every run
@pytest.mark.parametrize(
    "family",
    ["llama", *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES if f != "llama")],
)
def test_folder_loads_with_trust_remote_code_alone(family: str, tmp_path: Path) -> None:
    model = _pruned(family)
    folder, again = save(model, byte_tokenizer(), tmp_path / "model"), tmp_path / "again"
    printed = _run([sys.executable, "-c", LOAD, str(folder), str(again)], tmp_path)
    name, logits = json.loads(printed)
    ids = torch.tensor([byte_tokenizer().encode(TEXTS[0])])
    assert name == type(model).__name__
    assert torch.equal(torch.tensor(logits), model(ids).logits)
    assert sorted(p.name for p in again.glob("*.py")) == ["sentinel_remote.py"]
    maps = [json.loads((f / "config.json").read_text())["auto_map"] for f in (folder, again)]
    assert maps[0] == maps[1]


def test_gated_and_pruned_folder_loads_with_trust_remote_code_alone(tmp_path: Path) -> None:
    spec = AgencySpec(gate="input", skips=True, baseline="other")
    model = disturb(add_agency(_pruned("gpt2"), spec, baseline=tiny_model("gpt2", seed=1)))
    withdraw_consent(model, [(2, 3)])
    folder, again = save(model, byte_tokenizer(), tmp_path / "model"), tmp_path / "again"
    printed = _run([sys.executable, "-c", LOAD, str(folder), str(again)], tmp_path)
    name, logits = json.loads(printed)
    assert name == "AgencyGPT2LMHeadModel"
    ids = torch.tensor([byte_tokenizer().encode(TEXTS[0])])
    assert torch.equal(torch.tensor(logits), model(ids).logits)


def test_model_with_mixers_loads_with_trust_remote_code_alone(tmp_path: Path) -> None:
    model = tiny_model("sentinel", mixers=["resolvent", "agency", "attention"])
    folder, again = save(model, byte_tokenizer(), tmp_path / "model"), tmp_path / "again"
    printed = _run([sys.executable, "-c", LOAD, str(folder), str(again)], tmp_path)
    name, logits = json.loads(printed)
    assert name == "SentinelForCausalLM"
    ids = torch.tensor([byte_tokenizer().encode(TEXTS[0])])
    assert torch.equal(torch.tensor(logits), model(ids).logits)


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
