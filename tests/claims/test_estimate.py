"""Every statistic against a calculation by hand."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter

from sentinel_research.claims.estimate import Estimated, estimate
from sentinel_research.claims.evidence import AbsentError, Evidence
from sentinel_research.claims.statistic import Statistic
from tests.claims.conftest import METRIC, Folder, arm, by_name, cell, run_of

# Student's t of 97.5 percent, two degrees of freedom
T2 = 4.302652729911275


def found(folder: Folder, statistic: Mapping[str, Any], confidence: float = 0.95) -> Estimated:
    spec: Any = TypeAdapter(Statistic).validate_python(dict(statistic))
    return estimate(spec, Evidence(folder.path, "toy"), confidence)


def paired(**fields: Any) -> dict[str, Any]:
    return {"kind": "paired", "metric": METRIC, "seeds": [0, 1, 2], **fields}


@pytest.fixture
def runs(folder: Folder) -> Folder:
    # growth of log perplexity: 0.1, 0.2, 0.3 with, and 0.2, 0.4, 0.3 without
    for seed, (ours, other) in enumerate([(0.1, 0.2), (0.2, 0.4), (0.3, 0.3)]):
        folder.record(f"a/ours-{seed}", by_name({"dense": 10.0, "half": 10 * math.exp(ours)}))
        folder.record(f"a/other-{seed}", by_name({"dense": 8.0, "half": 8 * math.exp(other)}))
    return folder


def test_paired_difference_of_growths_has_students_interval(runs: Folder) -> None:
    sides = {
        name: {"run": f"a/{name}-{{seed}}", "cell": "half", "relative_to": "dense"}
        for name in ("ours", "other")
    }
    got = found(runs, paired(scale="log", first=sides["ours"], second=sides["other"]))
    # differences -0.1, -0.2, 0
    half = T2 * 0.1 / 3**0.5
    assert got.interval == pytest.approx((-0.1, -0.1 - half, -0.1 + half))
    assert got.confidence == 0.95


def test_paired_ratio_is_the_exponential_of_the_difference(runs: Folder) -> None:
    side = {"run": "a/ours-{seed}", "cell": "half", "relative_to": "dense"}
    got = found(runs, paired(scale="log", as_ratio=True, first=side))
    half = T2 * 0.1 / 3**0.5
    assert got.interval == pytest.approx([math.exp(x) for x in (0.2, 0.2 - half, 0.2 + half)])


def test_difference_without_any_spread_is_no_evidence(folder: Folder) -> None:
    folder.record("h", by_name({"a": 2.0, "b": 1.0}))
    sides = {"first": {"run": "h", "cell": "a"}, "second": {"run": "h", "cell": "b"}}
    with pytest.raises(AbsentError, match="the same difference at every repetition, 1"):
        found(folder, paired(**sides))


def test_side_can_be_relative_to_another_run(runs: Folder) -> None:
    other = {"run": "a/other-{seed}", "cell": "half"}
    side = {"run": "a/ours-{seed}", "cell": "half", "relative_to": other}
    got = found(runs, paired(scale="log", first=side))
    assert got.interval.value == pytest.approx(math.log(10 / 8) - 0.1)


def test_several_cells_of_a_side_are_averaged(folder: Folder) -> None:
    for seed in range(2):
        values = {"one": 1.0 + seed, "two": 4.0 + seed, f"seed{seed}": 1.0}
        folder.record(f"b/{seed}", by_name(values))
    side = {"run": "b/{seed}", "cell": ["one", "two"]}
    got = found(folder, paired(seeds=[0, 1], first=side, second={**side, "cell": "seed{seed}"}))
    assert got.interval.value == pytest.approx((2.5 - 1 + 3.5 - 1) / 2)


def test_arm_of_a_comparison_is_the_chosen_one_of_its_seed(folder: Folder) -> None:
    cells = [
        arm("mamba", 0, 9.0, is_tuning=True, is_chosen=False),
        arm("mamba", 0, 2.0, is_tuning=True, is_chosen=True).model_copy(update={"id": "chosen"}),
        arm("mamba", 1, 3.0),
        arm("other", 1, 7.0),
    ]
    folder.record("c", run_of(cells))
    got = found(folder, paired(seeds=[0, 1], first={"run": "c", "arm": "mamba"}))
    assert got.interval.value == pytest.approx(2.5)


def test_written_text_and_long_contexts_are_read_by_name(folder: Folder) -> None:
    for seed in range(2):
        one = cell(
            "dense",
            1.0,
            generation={"quality": {"distinct-2": {"value": 0.5 + seed}}},
            long_context={"buckets": [{"start": 0, "nats_per_token": 2.0 + seed}]},
        )
        folder.record(f"d/{seed}", run_of([one]))
    side = {"run": "d/{seed}", "cell": "dense"}
    for metric, mean in (("generation/distinct-2", 1.0), ("long_context/0", 2.5)):
        got = found(folder, paired(metric=metric, seeds=[0, 1], first=side))
        assert got.interval.value == pytest.approx(mean)


def test_share_regained_is_what_training_brought_back_of_what_was_lost(folder: Folder) -> None:
    # lost log 2 of 4 to 8; regained 0.5, 0.6 and 0.7 of it
    values = {"dense": 4.0, "half": 8.0}
    after = {f"half+full-seed{s}": 8 * 2 ** -(0.5 + 0.1 * s) for s in range(3)}
    folder.record("e", by_name({**values, **after}))
    statistic = {
        "kind": "regained",
        "metric": METRIC,
        "seeds": [0, 1, 2],
        "before": {"run": "e", "cell": "half"},
        "after": {"run": "e", "cell": "half+full-seed{seed}"},
        "reference": {"run": "e", "cell": "dense"},
    }
    got = found(folder, statistic)
    half = T2 * 0.1 / 3**0.5
    assert got.interval == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    lost_nothing = {**statistic, "reference": {"run": "e", "cell": "half"}}
    with pytest.raises(AbsentError, match="nothing was lost"):
        found(folder, lost_nothing)


def test_difference_from_random_masks_has_welchs_interval(folder: Folder) -> None:
    ours = {f"cal{n}": math.exp(x) for n, x in enumerate((1.0, 1.2))}
    random = {f"random{n}": math.exp(x) for n, x in enumerate((2.0, 2.1, 2.3))}
    folder.record("f", by_name({**ours, **random}))
    statistic = {
        "kind": "against_random",
        "metric": METRIC,
        "draws": [0, 1],
        "first": {"run": "f", "cell": "cal{seed}"},
        "seeds": [0, 1, 2],
        "random": {"run": "f", "cell": "random{seed}"},
    }
    got = found(folder, statistic).interval
    assert got.value == pytest.approx(1.1 - 6.4 / 3)
    # by hand: variances 0.02 and 0.07 / 3, Welch's degrees of freedom
    a, b = 0.02 / 2, (0.07 / 3) / 3
    freedom = (a + b) ** 2 / (a**2 / 1 + b**2 / 2)
    from scipy import stats

    half = stats.t.ppf(0.975, freedom) * (a + b) ** 0.5
    assert (got.low, got.high) == pytest.approx((got.value - half, got.value + half))


def test_side_that_is_the_same_every_time_is_compared_by_the_other_ones_spread(
    folder: Folder,
) -> None:
    random = {f"random{n}": math.exp(x) for n, x in enumerate((2.0, 2.1, 2.3))}
    folder.record("g", by_name({"cal0": 1.0, "cal1": 1.0, **random}))
    statistic: dict[str, Any] = {
        "kind": "against_random",
        "metric": METRIC,
        "draws": [0, 1],
        "first": {"run": "g", "cell": "cal{seed}"},
        "seeds": [0, 1, 2],
        "random": {"run": "g", "cell": "random{seed}"},
    }
    got = found(folder, statistic).interval
    half = T2 * (0.07 / 3 / 3) ** 0.5
    assert got == pytest.approx((-6.4 / 3, -6.4 / 3 - half, -6.4 / 3 + half))
    alike = {**statistic, "seeds": [0, 1], "random": {"run": "g", "cell": "cal{seed}"}}
    with pytest.raises(AbsentError, match="nothing to judge by"):
        found(folder, alike)


ROUNDS = [(2.0, 1.0), (4.0, 1.0), (6.0, 2.0)]


def test_times_are_medians_of_ratios_of_rounds(folder: Folder) -> None:
    folder.speed({"x": ROUNDS})
    got = found(folder, {"kind": "times", "section": "resolvent", "measured": "x"}, 0.7)
    assert got.interval == pytest.approx((3.0, 2.0, 4.0))
    assert got.confidence == 0.75


def test_speed_is_the_inverse_of_the_ratio_of_times(folder: Folder) -> None:
    folder.speed({"x": ROUNDS})
    got = found(
        folder, {"kind": "times", "section": "resolvent", "measured": "x", "as_speed": True}
    )
    assert got.interval == pytest.approx((1 / 3, 1 / 4, 1 / 2))


def test_two_ratios_are_divided_round_by_round(folder: Folder) -> None:
    folder.speed({"x": ROUNDS, "y": [(1.0, 1.0), (4.0, 1.0), (1.0, 2.0)]})
    statistic = {"kind": "times", "section": "resolvent", "measured": "x", "over": "y"}
    assert found(folder, statistic).interval == pytest.approx((2.0, 1.0, 6.0))


def test_ratios_of_other_rounds_have_their_intervals_combined(folder: Folder) -> None:
    folder.speed({"x": ROUNDS, "y": [(1.0, 1.0), (2.0, 1.0)]})
    statistic = {"kind": "times", "section": "resolvent", "measured": "x", "over": "y"}
    with pytest.raises(AbsentError, match="not timed in the same rounds"):
        found(folder, statistic)
    got = found(folder, {**statistic, "same_rounds": False})
    assert got.interval == pytest.approx((2.0, 1.0, 4.0))
    # three quarters and one half cover together in one quarter at least
    assert got.confidence == pytest.approx(0.75 + 0.5 - 1)


def test_several_comparisons_have_their_geometric_mean_taken(folder: Folder) -> None:
    folder.speed({"x": [(4.0, 1.0), (4.0, 1.0)], "y": [(1.0, 1.0), (1.0, 1.0)]})
    got = found(folder, {"kind": "times", "section": "resolvent", "measured": ["x", "y"]})
    assert got.interval.value == pytest.approx(2.0)


def test_power_of_the_length_is_the_slope_of_every_round(folder: Folder) -> None:
    lengths = (8, 64, 512, 4096)
    folder.speed({f"x/{n}": [(3 * n**p, 1.0) for p in (0.9, 1.0, 1.2)] for n in lengths})
    statistic = {"kind": "power", "section": "resolvent", "measured": "x"}
    assert found(folder, statistic).interval == pytest.approx((1.0, 0.9, 1.2))
    with pytest.raises(AbsentError, match="three lengths, 'x' has 2"):
        found(folder, {**statistic, "from_length": 512})


def test_growth_of_parameters_is_counted(folder: Folder) -> None:
    statistic = {
        "kind": "parameter_growth",
        "model_type": "gpt2",
        "config": {"n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 16, "vocab_size": 20},
        "agency": {"gate": "static"},
    }
    got = found(folder, statistic)
    # per block norms 32, attention 288, feed-forward 552; embeddings 160 and 128, last norm 16
    assert got.interval == pytest.approx([4 / 2048] * 3)
    assert got.confidence == 1


def test_worth_of_a_fraction_is_its_speed_less_its_loss(runs: Folder) -> None:
    runs.speed({"x": ROUNDS})
    side = {"run": "a/ours-{seed}", "cell": "half"}
    statistic = {
        "kind": "trade_off",
        "quality": paired(scale="log", first=side, second={**side, "cell": "dense"}),
        "speed": {"section": "resolvent", "measured": "x", "as_speed": True},
        "weight": 2.0,
    }
    got = found(runs, statistic)
    assert got.interval.value == pytest.approx(math.log(1 / 3) - 2 * 0.2)
    assert got.interval.low < got.interval.value < got.interval.high
    assert got.confidence < 0.75


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (paired(first={"run": "absent", "cell": "x"}), "the run 'absent' is not kept"),
        (paired(first={"run": "a/ours-{seed}", "cell": "x"}), "has no cell 'x'"),
        (paired(first={"run": "a/ours-{seed}", "arm": "x"}), "no 'x' of seed 0"),
        (
            paired(metric="toy_task/acc", first={"run": "a/ours-{seed}", "cell": "half"}),
            "toy_task/acc not in",
        ),
        (
            paired(metric="generation/bleu", first={"run": "a/ours-{seed}", "cell": "half"}),
            "has no generation/bleu",
        ),
        (
            paired(metric="long_context/7", first={"run": "a/ours-{seed}", "cell": "half"}),
            "has no long_context/7",
        ),
        ({"kind": "times", "section": "levels", "measured": "x"}, "no speed is kept"),
    ],
    ids=["run", "cell", "arm", "metric", "text", "position", "speed"],
)
def test_what_was_not_measured_is_said(
    runs: Folder, statistic: dict[str, Any], message: str
) -> None:
    with pytest.raises(AbsentError, match=message):
        found(runs, statistic)


@pytest.mark.parametrize("section", ["mamba", "device", "absent"])
def test_section_that_was_not_measured_is_said(folder: Folder, section: str) -> None:
    folder.speed({"x": ROUNDS})
    with pytest.raises(AbsentError, match=f"section '{section}'"):
        found(folder, {"kind": "times", "section": section, "measured": "x"})
