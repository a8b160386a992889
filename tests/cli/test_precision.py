"""`--bits` and `bits=` from the command to the record, through pruning, lm-eval and folders."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from sentinel_research.cli import main
from sentinel_research.errors import UsageError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.answer_cache import answers_fingerprint
from sentinel_research.models import held_bytes, save
from sentinel_research.models.stored_linear import stored_projections
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.quantisation import store_small
from sentinel_research.record import RunRecord
from sentinel_research.specs import PruneSpec
from tests.cli.conftest import refused

pytestmark = pytest.mark.xdist_group("precision")

ROOT = Path(__file__).parents[2]
FLAGS = ["--tasks", "sentinel_synthetic", "--limit", "2", "--max_length", "32", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("models") / "dense"
    return str(save(tiny_model("gpt2"), byte_tokenizer(), place))


def _lm(folder: str, **arguments: Any) -> SentinelLM:
    return SentinelLM(folder, batch_size=2, quiet=True, max_length=32, device="cpu", **arguments)


@torch.no_grad()
def _logits(lm: SentinelLM) -> torch.Tensor:
    found: torch.Tensor = lm.model(input_ids=torch.arange(20)[None]).logits
    return found


def test_flag_reaches_the_record_with_bytes_and_kernel(folder: str, tmp_path: Path) -> None:
    assert main(["evaluate", folder, *FLAGS, "--bits", "8", "--output", str(tmp_path)]) == 0
    record = RunRecord.read(tmp_path)
    assert record.load is not None
    assert record.load["precision"]["bits"] == 8
    assert record.load["weight_bytes"] == record.load["precision"]["weight_bytes"]
    assert record.load["weight_bytes"] < 0.7 * record.load["precision"]["weight_bytes_before"]
    assert "int8 weights" in record.load["precision"]["kernel"]


def test_pruned_cells_are_stored_after_pruning_and_the_dense_one_too(
    folder: str, tmp_path: Path
) -> None:
    cells = ["prune.scorers=[magnitude_l2]", "prune.fractions=[0.4]", "prune.save_models=true"]
    words = [word for one in (*cells, "model.bits=8") for word in ("--set", one)]
    assert main(["evaluate", folder, *FLAGS, *words, "--output", str(tmp_path)]) == 0
    record = RunRecord.read(tmp_path)
    assert record.load is not None
    assert "precision" not in record.load
    pruned = record.cells[1:]
    assert pruned
    held = [cell.precision["weight_bytes"] for cell in record.cells if cell.precision]
    assert len(held) == len(record.cells)
    assert max(held[1:]) < held[0]
    (saved,) = {cell.model_folder for cell in pruned if cell.model_folder}
    again = _lm(str(tmp_path / saved))
    assert len(stored_projections(again.model)) == 12


def test_lm_eval_measures_a_model_in_eight_bits(folder: str) -> None:
    found = simple_evaluate(
        "sentinel",
        model_args=f"pretrained={folder},bits=8,max_length=32,quiet=True",
        tasks=["sentinel_synthetic"],
        task_manager=TaskManager(include_path=str(ROOT / "tasks"), include_defaults=False),
        device="cpu",
        limit=1,
        bootstrap_iters=0,
    )
    assert found is not None
    precision = found["config"]["sentinel_precision"]
    assert (precision["bits"], precision["activations"]) == (8, "int8")
    assert found["config"]["sentinel_weight_bytes"] == precision["weight_bytes"]
    assert found["config"]["model_num_parameters"] == tiny_model("gpt2").num_parameters()


@pytest.mark.parametrize("form", ["mask", "remove"])
def test_adapter_prunes_first_and_stores_then(folder: str, form: str) -> None:
    lm = _lm(folder, bits=4, prune="magnitude_l2", prune_fraction=0.4, prune_form=form)
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4, form=form)
    expected = prune(_lm(folder).model, spec).model
    store_small(expected, 4)
    with torch.no_grad():
        logits = expected(input_ids=torch.arange(20)[None]).logits
    assert torch.equal(_logits(lm), logits)


def test_stored_folder_is_read_by_the_adapter_bit_equal(folder: str, tmp_path: Path) -> None:
    lm = _lm(folder, bits=8)
    place = save(lm.model, byte_tokenizer(), tmp_path / "stored")
    again = _lm(str(place))
    assert torch.equal(_logits(again), _logits(lm))
    assert again.get_model_info()["sentinel_weight_bytes"] == held_bytes(lm.model)


def test_answers_of_precisions_are_kept_apart(folder: str) -> None:
    ways: list[dict[str, Any]] = [{}, {"bits": 16}, {"bits": 8}, {"bits": 4},
                                  {"bits": 8, "activations": "float"},
                                  {"dtype": "bfloat16"}]  # fmt: skip
    assert len({answers_fingerprint(_lm(folder, **way), []) for way in ways}) == len(ways)
    assert answers_fingerprint(_lm(folder, bits=32), []) == answers_fingerprint(_lm(folder), [])


def test_half_precision_runs_on_a_processor_and_says_that_it_is_emulated(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_fp16_supported", lambda: False)
    words = ["evaluate", folder, *FLAGS, "--dtype", "float16", "--output", str(tmp_path)]
    assert main(words) == 0
    load = RunRecord.read(tmp_path).load
    assert load is not None
    assert load["dtype"] == "float16"
    assert "no instructions" in load["emulated"]


def test_bits_of_a_stored_folder_are_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = _lm(folder, bits=8)
    place = save(lm.model, byte_tokenizer(), tmp_path / "stored")
    words = ["evaluate", str(place), *FLAGS, "--bits", "4", "--output", str(tmp_path / "run")]
    said = refused(capsys, *words)
    assert "stored quantised in 8 bits already" in said
    assert "leave `bits` out" in said


def test_pruning_a_stored_folder_is_refused_with_what_to_do(folder: str, tmp_path: Path) -> None:
    place = save(_lm(folder, bits=8).model, byte_tokenizer(), tmp_path / "stored")
    with pytest.raises(UsageError, match="quantised") as found:
        _lm(str(place), prune="magnitude_l2", prune_fraction=0.4)
    assert "Prune the model before" in str(found.value.hint)


def test_bits_and_other_ways_to_load_are_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="already loaded"):
        SentinelLM(copy.deepcopy(_lm(folder).model), tokenizer=byte_tokenizer(), bits=8)
    with pytest.raises(UsageError, match="both change how weights are held"):
        _lm(folder, bits=8, parallelize=True)
    with pytest.raises(UsageError, match="both say how weights are held"):
        _lm(folder, bits=8, dtype="float16")
    with pytest.raises(UsageError, match="4, 8, 16 or 32"):
        _lm(folder, bits=5)
