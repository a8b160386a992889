"""The benchmark's files: the published fields, measured numbers, and nothing that was not."""

import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, strategies

from sentinel_research.cli import main
from sentinel_research.mamba_vs_bk.figures import METRICS, epoch_losses
from sentinel_research.record import RunRecord
from sentinel_research.statistics import mean_interval
from tests.mamba_vs_bk.conftest import SMALL, merged, read

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("benchmark")]

PUBLISHED = [
    *("model_name", "dataset", "seq_len", "bits", "final_loss", "final_perplexity"),
    *("best_perplexity", "training_time", "forward_flops", "backward_flops", "total_flops"),
    *("peak_memory_mb", "model_size_mb", "epoch_losses", "epoch_perplexities", "config"),
]
OURS = [
    *("schema_version", "status", "synthetic_data", "validation", "test", "bits_per_byte"),
    *("intervals", "seeds", "runs", "floors", "failed", "not_measured", "definitions"),
    "provenance",
]
PUBLISHED_MULTI = ["model_name", "datasets", "perplexities", "mean_perplexity", "std_perplexity"]
OURS_MULTI = [
    *("schema_version", "status", "geometric_mean_perplexity", "mean_bits_per_byte"),
    *("per_dataset", "files", "seeds", "failed", "not_measured", "config", "definitions"),
    "provenance",
]
RUN = [
    *("cell", "seed", "status", "learning_rate", "final_loss", "final_perplexity"),
    *("best_perplexity", "training_time", "num_steps", "num_epochs", "num_tokens"),
    *("tokens_per_second", "peak_memory_mb", "memory_before_mb", "epoch_losses"),
    *("epoch_perplexities", "epoch_validation_losses", "validation", "test"),
    *("stderr_over_documents", "stability", "kernels"),
]
FILE = "bk_shakespeare_seq32_bits32.json"


def _record(folder: Path, result: dict) -> RunRecord:
    return RunRecord.read((folder / result["provenance"]["record"]).parent)


def test_files_have_the_published_names_and_exactly_these_fields(finished: Path) -> None:
    assert {path.name for path in finished.glob("*.json")} == {
        *(f"{model}_{dataset}_seq32_bits32.json" for model in ("mamba", "bk")
          for dataset in ("shakespeare", "ptb")),
        *("mamba_multi_dataset.json", "bk_multi_dataset.json", "report.json"),
    }  # fmt: skip
    single, multi = read(finished, FILE), read(finished, "bk_multi_dataset.json")
    assert list(single) == [*PUBLISHED, *OURS]
    assert list(multi) == [*PUBLISHED_MULTI, *OURS_MULTI]
    assert list(single["runs"][0]) == RUN


def test_every_field_is_defined_in_the_file_or_says_itself(finished: Path) -> None:
    result = read(finished, FILE)
    assert set(result["definitions"]) <= {*PUBLISHED, *OURS}
    numbers = set(PUBLISHED) - {"model_name", "dataset", "seq_len", "bits", "config"}
    assert numbers <= set(result["definitions"])
    multi = read(finished, "bk_multi_dataset.json")
    assert set(PUBLISHED_MULTI[2:]) <= set(multi["definitions"])


def test_numbers_are_those_of_the_record(finished: Path) -> None:
    result = read(finished, FILE)
    record = _record(finished, result)
    cells = [record.cell(f"bk-seed{seed}") for seed in (3, 4)]
    reports = [cell.train for cell in cells if cell.train is not None]
    evaluations = [cell.evaluation for cell in cells if cell.evaluation is not None]
    assert len(reports) == len(evaluations) == 2
    bits = [one.measurement("sentinel_shakespeare", "bits_per_byte").value for one in evaluations]
    assert result["bits_per_byte"] == result["test"]["bits_per_byte"] == statistics.fmean(bits)
    found = result["intervals"]["test_bits_per_byte"]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx(mean_interval(bits))
    assert found["sd"] == pytest.approx(statistics.stdev(bits))
    best = [math.exp(report["validation_loss"]) for report in reports]
    assert result["best_perplexity"] == statistics.fmean(best)
    assert result["total_flops"] == sum(reports[0]["flops_per_step"].values()) > 0
    assert result["training_time"] == statistics.fmean([report["seconds"] for report in reports])
    weights = finished / result["provenance"]["record"]
    stored = (weights.parent / str(cells[0].model_folder) / "model.safetensors").stat().st_size
    assert result["model_size_mb"] == stored / 2**20
    assert result["provenance"]["recipe_fingerprint"] == record.recipe_fingerprint


def test_memory_is_measured_and_never_zero(finished: Path) -> None:
    result = read(finished, FILE)
    peaks = [run["peak_memory_mb"] for run in result["runs"]]
    if None in peaks:
        assert result["peak_memory_mb"] is None
        assert result["not_measured"]["peak_memory_mb"]
    else:
        # an interpreter with torch takes more than 100 MiB
        assert result["peak_memory_mb"] == max(peaks) > 100


def test_bytes_are_the_tokens_and_perplexity_is_two_to_the_bits(finished: Path) -> None:
    result = read(finished, FILE)
    assert result["config"]["token"] == "a byte of UTF-8"
    for split in ("validation", "test"):
        assert set(METRICS) <= set(result[split])
        for run in result["runs"]:
            one = run[split]
            assert one["byte_perplexity"] == pytest.approx(2 ** one["bits_per_byte"])
            assert one["token_perplexity"] == pytest.approx(one["byte_perplexity"])


def test_floors_and_kernels_are_in_the_file(finished: Path) -> None:
    result = read(finished, FILE)
    assert list(result["floors"]) == ["ngram1", "ngram2", "ngram3"]
    for floor in result["floors"].values():
        assert floor["test"]["bits_per_byte"] > 0
        assert floor["validation"]["loss"] > 0
    assert result["runs"][0]["kernels"] == {"resolvent": "numba"}
    mamba = read(finished, FILE.replace("bk_", "mamba_"))
    assert mamba["runs"][0]["kernels"] == {"selective_scan": "numba"}


def test_epochs_are_passes_over_the_blocks(finished: Path) -> None:
    result = read(finished, FILE)
    record = _record(finished, result)
    train = record.cell("bk-seed3").train
    assert train is not None
    per_epoch = train["num_blocks"] // 4
    run = result["runs"][0]
    assert run["num_epochs"] == 25 / per_epoch
    assert 1 < run["num_epochs"] < 2
    assert len(run["epoch_losses"]) == 2
    assert [entry["step"] for entry in train["validation"]] == [per_epoch, 25]
    assert run["final_loss"] == run["epoch_losses"][-1] < run["epoch_losses"][0]
    assert run["final_perplexity"] == math.exp(run["final_loss"])


def test_sizes_of_the_models_are_equal_within_one_percent(finished: Path) -> None:
    sizes = [
        read(finished, f"{model}_ptb_seq32_bits32.json")["config"]["matched"]["num_non_embedding"]
        for model in ("mamba", "bk")
    ]
    assert abs(sizes[0] / sizes[1] - 1) < 0.02


def test_several_datasets_have_their_means_and_a_list_of_what_failed(finished: Path) -> None:
    multi = read(finished, "bk_multi_dataset.json")
    values = {
        dataset: read(finished, multi["files"][dataset])["test"]["token_perplexity"]
        for dataset in ("shakespeare", "ptb")
    }
    assert multi["datasets"] == ["shakespeare", "c4", "ptb"]
    assert multi["perplexities"] == pytest.approx(values)
    one, other = values.values()
    assert multi["mean_perplexity"] == pytest.approx((one + other) / 2)
    # divided by n, as the published example is
    assert multi["std_perplexity"] == pytest.approx(abs(one - other) / 2)
    assert multi["geometric_mean_perplexity"] == pytest.approx(math.sqrt(one * other))
    bits = [multi["per_dataset"][dataset]["bits_per_byte"]["mean"] for dataset in values]
    assert multi["mean_bits_per_byte"] == pytest.approx(statistics.fmean(bits))
    assert multi["per_dataset"]["ptb"]["perplexity"]["num_seeds"] == 2
    (failure,) = multi["failed"]
    assert (failure["dataset"], failure["cell"]) == ("c4", None)
    assert "allenai/c4, config en, split validation[:1600] cannot be streamed" in failure["error"]
    assert multi["status"] == "failed"
    assert "c4" in multi["not_measured"]


def test_datasets_have_models_of_their_own(finished: Path) -> None:
    hashes = set()
    for dataset in ("shakespeare", "ptb"):
        record = _record(finished, read(finished, f"bk_{dataset}_seq32_bits32.json"))
        for seed in (3, 4):
            train = record.cell(f"bk-seed{seed}").train
            assert train is not None
            hashes.add((train["data"]["blocks_sha256"], json.dumps(train["losses"])))
    assert len(hashes) == 4


def test_agency_has_the_same_files_and_fields_on_several_datasets(
    finished: Path, small_mirror: Path, tmp_path: Path
) -> None:
    words = [*SMALL, "--model", "agency", "--multi_dataset", "--datasets", "shakespeare", "ptb"]
    # the states of heads are measured after 20 steps
    words += ["--num_steps", "20", "--limit", "1", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *merged(*words)]) == 0
    multi = read(tmp_path, "agency_multi_dataset.json")
    assert list(multi) == list(read(finished, "bk_multi_dataset.json"))
    assert (multi["status"], list(multi["perplexities"])) == ("done", ["shakespeare", "ptb"])
    for name in multi["files"].values():
        single = read(tmp_path, name)
        assert list(single) == list(read(finished, name.replace("agency_", "bk_")))
        assert (single["model_name"], single["status"]) == ("agency", "done")
        assert abs(single["config"]["matched"]["deviation"]) <= 0.01
        assert single["config"]["matched"]["config"]["mixers"] == "agency"
        train = _record(tmp_path, single).cell("agency-seed42").train
        assert train is not None
        assert train["agency"]["spec"]["gate"] == "input"
        # every head has a state by then
        assert sum(train["agency"]["num_heads"].values()) == 1


@given(
    losses=strategies.lists(strategies.floats(0.1, 9.0), min_size=1, max_size=40),
    per_epoch=strategies.integers(1, 12),
    every=strategies.integers(1, 7),
)
def test_mean_of_an_epoch_is_the_mean_over_its_steps(
    losses: list[float], per_epoch: int, every: int
) -> None:
    steps = range(1, len(losses) + 1)
    logged = [s for s in steps if s % every == 0 or s % per_epoch == 0 or s == len(losses)]
    entries, before = [], 0
    for step in logged:
        entries.append({"step": step, "loss": statistics.fmean(losses[before:step])})
        before = step
    expected = [
        statistics.fmean(losses[start : start + per_epoch])
        for start in range(0, len(losses), per_epoch)
    ]
    # sums in another order
    assert epoch_losses(entries, per_epoch) == pytest.approx(expected, rel=1e-12)
