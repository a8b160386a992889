"""What `cost` reports: every phase in turns with the reference, memory, and modules."""

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from sentinel_research.cost import cost, costs
from sentinel_research.cost.counts import Work
from sentinel_research.cost.fresh import measure_fresh, store
from sentinel_research.cost.modules import module_costs
from sentinel_research.cost.phases import PHASES
from sentinel_research.cost.predict import bound
from sentinel_research.cost.schema import CostReport, Rates
from sentinel_research.errors import UsageError
from sentinel_research.models.layout import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import make_plan, mask, remove
from sentinel_research.specs import CostSpec

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("cost")]


@pytest.fixture(scope="module")
def pair() -> dict[str, CostReport]:
    """A model without half of its neurons, and the dense one."""
    dense = tiny_model("gpt2", n_layer=2).train()
    structure = structure_of(dense.config)
    plan = make_plan(
        structure, [layer.heads for layer in structure.layers], neurons=[range(18)] * 2
    )
    spec = CostSpec(
        prompt_tokens=6, new_tokens=2, batch_sizes=(1, 3), num_repetitions=2, fresh_process=False
    )
    found = costs({"half": remove(dense.eval(), plan)}, spec, dense=dense.train())
    assert dense.training, "its mode comes back"
    return found


def test_every_phase_is_timed_at_every_batch_size_in_pairs(pair: dict[str, CostReport]) -> None:
    report = pair["half"]
    assert [(one.phase, one.batch_size) for one in report.phases] == [
        (phase, size) for size in (1, 3) for phase in PHASES
    ]
    assert report.against == "dense"
    for one, other in zip(report.phases, pair["dense"].phases, strict=True):
        assert one.against is not None
        assert one.against.num_pairs == 2
        assert other.against is None
        mine = sorted(ours for ours, _ in one.against.wall_seconds)
        assert one.wall_seconds.median == pytest.approx(sum(mine) / 2)
        rate = one.num_tokens * sum(1 / seconds for seconds in mine) / 2
        assert one.tokens_per_second.median == pytest.approx(rate)
    assert report.phase("prefill", 3).num_tokens == 18
    assert report.phase("decode", 3).num_tokens == 6


def test_speed_up_is_the_inverse_of_the_ratio_of_times(pair: dict[str, CostReport]) -> None:
    phase = pair["half"].phase("decode")
    found = phase.speed_up("cpu")
    assert found is not None
    assert phase.against is not None
    assert found.median == pytest.approx(1 / phase.against.cpu.median)
    assert found.low == pytest.approx(1 / phase.against.cpu.high)
    assert found.low <= found.median <= found.high
    assert pair["dense"].phase("decode").speed_up("cpu") is None


def test_arithmetic_stands_beside_every_measured_ratio(pair: dict[str, CostReport]) -> None:
    for one, other in zip(pair["half"].phases, pair["dense"].phases, strict=True):
        assert one.bound is not None
        assert one.bound.flops_ratio == pytest.approx(other.flops / one.flops)
        assert one.bound.bytes_ratio == pytest.approx(other.bytes_moved / one.bytes_moved)
        assert one.bound.flops_ratio > 1


def test_report_survives_json(pair: dict[str, CostReport]) -> None:
    for report in pair.values():
        assert CostReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("bytes_per_second", "expected"),
    [(1e9, 4.0), (1.0, 2.0), (5.0, 2.5)],
    ids=["computing", "moving", "one of each"],
)
def test_prediction_is_the_slower_of_computing_and_moving(
    bytes_per_second: float, expected: float
) -> None:
    rates = Rates(flops_per_second=10.0, bytes_per_second=bytes_per_second)
    # 10 s and 2.5 s of computing; 40 and 20 bytes
    dense, small = Work(100, 40, 0), Work(25, 20, 0)
    assert bound(small, dense, rates).speed_up == pytest.approx(expected)


def test_modules_add_up_to_the_whole_pass(pair: dict[str, CostReport]) -> None:
    rows = pair["half"].modules
    for phase in ("prefill", "decode"):
        mine = [row for row in rows if row.phase == phase]
        assert sum(row.share for row in mine) == pytest.approx(1, abs=0.02)
        found = {row.path: row for row in mine}
        # two layers, one row
        assert found["transformer.h.*.attn.c_attn"].num_calls == 2
        assert found["transformer.h.*.attn.c_attn"].kind == "Conv1D"
        assert found["lm_head"].num_calls == 1


def test_profiler_leaves_no_hook_behind() -> None:
    model = tiny_model("gpt2", n_layer=1)
    ids = torch.zeros(1, 3, dtype=torch.long)
    module_costs(model, "prefill", lambda: model(ids), num_passes=1)
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a peak that starts anew")
def test_memory_and_loading_are_of_a_new_process(tmp_path: Path) -> None:
    store(tiny_model("gpt2", n_layer=1), tmp_path)
    spec = CostSpec(prompt_tokens=4, new_tokens=1)
    found = measure_fresh(tmp_path, tmp_path, spec, "cpu", "model", "dense")
    # an interpreter with torch and transformers
    assert found.peak_bytes >= found.before_bytes > 100_000_000
    assert found.load_against is not None
    assert found.load_against.num_pairs == 3


def test_masked_model_says_why_its_memory_is_not_measured(short: CostSpec) -> None:
    dense = tiny_model("gpt2", n_layer=1)
    masked = mask(dense, make_plan(structure_of(dense.config), [[0]]))
    found = cost(masked, short.model_copy(update={"fresh_process": True}))
    assert found.fresh is None
    assert "a masked model cannot be saved" in found.fresh_absent


def test_prompt_beyond_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match="60 prompt tokens and 5 new ones are 65, the model reads"):
        cost(tiny_model("gpt2", n_layer=1), CostSpec(prompt_tokens=60, new_tokens=5))


def test_models_of_different_vocabularies_are_refused(short: CostSpec) -> None:
    one, other = tiny_model("gpt2", n_layer=1), tiny_model("gpt2", n_layer=1, vocab_size=300)
    with pytest.raises(UsageError, match="300 and 259 tokens do not read the same prompts"):
        cost(other, short, dense=one)


def test_loop_is_not_compared_with_a_kernel(short: CostSpec) -> None:
    from sentinel_research.models import use_library

    loop = tiny_model("mamba", num_hidden_layers=1)
    use_library(loop)
    with pytest.raises(UsageError, match="a loop in Python is no match for a kernel"):
        cost(loop, short, dense=tiny_model("mamba", num_hidden_layers=1))


def test_reference_keeps_its_name(short: CostSpec) -> None:
    model = tiny_model("gpt2", n_layer=1)
    with pytest.raises(UsageError, match="a model that is compared is named 'dense'"):
        costs({"dense": model}, short, dense=model)


@pytest.mark.parametrize("sizes", [(), (0,), (2, 2)], ids=["none", "zero", "twice"])
def test_batch_sizes_are_positive_and_each_there_once(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        CostSpec(batch_sizes=sizes)
