"""What `sentinel bench levels` compares, at a size whose times mean nothing."""

import copy

import pytest
import torch

from sentinel_research.bench import levels
from sentinel_research.bench.levels import (
    ARMS,
    LEVELS,
    Variant,
    check_twice,
    checks,
    num_rounds,
    share_memory,
    variants,
)
from sentinel_research.bench.models import SCALES, gpt2_of
from sentinel_research.bench.schema import LevelsSection, SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.cli import main
from sentinel_research.models.layout import structure_of
from sentinel_research.timing import Comparison, Sample, compare

# one worker measures the section once
pytestmark = pytest.mark.xdist_group("bench-levels")


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> LevelsSection:
    path = tmp_path_factory.mktemp("speed") / "here.json"
    words = ["bench", "levels", "--size", "tiny", "--pairs", "2", "--output", str(path)]
    assert main(words) == 0
    found = SpeedFile.model_validate_json(path.read_text()).levels
    assert found is not None
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Variant]:
    return variants(gpt2_of("tiny", "cpu"), gpt2_of("tiny", "cpu"))


def test_every_arm_is_timed_at_every_level_in_both_modes(section: LevelsSection) -> None:
    assert [one.name for one in section.comparisons] == [
        f"tiny/{mode}/{variant}"
        for mode in ("prefill", "decode")
        for variant in (
            *(f"{arm}/{level}" for arm in ARMS for level in (0, 30, 50, 70)),
            "plain/50_masked",
        )
    ]
    assert {one.alternative for one in section.comparisons} == {"the plain dense model"}
    assert section.checks == ()


def test_all_models_of_a_mode_share_their_rounds(section: LevelsSection) -> None:
    for mode in ("prefill", "decode"):
        rows = [one for one in section.comparisons if f"/{mode}/" in one.name]
        dense = {tuple(other for _, other in one.wall_seconds) for one in rows}
        assert len(dense) == 1
        measured = [tuple(time for time, _ in one.wall_seconds) for one in rows]
        # the dense model is timed a second time, not copied
        assert len({*measured, *dense}) == len(rows) + 1


def test_words_say_the_exact_share_that_is_gone(section: LevelsSection) -> None:
    words = {one.name: one.measured for one in section.comparisons}
    assert words["tiny/prefill/plain/30"] == (
        "GPT-2, 1 of the 4 heads of every layer (25%) removed"
    )
    assert words["tiny/decode/agency_all/70"] == (
        "GPT-2 with input gates, U-Net skips, frozen dense copy, "
        "2 of the 4 heads of every layer (50%) removed"
    )
    assert "2 of the 4 heads of every layer (50%) masked" in words["tiny/decode/plain/50_masked"]


def test_the_same_heads_go_from_every_arm(found: dict[str, Variant]) -> None:
    for level, num_heads in zip(LEVELS, (4, 3, 2, 2), strict=True):
        left = {
            tuple(
                layer.heads for layer in structure_of(found[f"{arm}/{level}"].model.config).layers
            )
            for arm in ARMS
        }
        assert len(left) == 1
        assert {len(heads) for heads in left.pop()} == {num_heads}


def test_parameters_are_counted_by_what_an_arm_adds(section: LevelsSection) -> None:
    rows = {row.name: row for row in section.models}
    assert list(rows) == [f"tiny/{arm}/{level}" for arm in ARMS for level in LEVELS]
    # E=32, 2 layers of 4 heads of 8: projections of 32 inputs, three biases, a gate's row and bias
    head, gate = 4 * 32 * 8 + 3 * 8, 32 + 1
    dense = rows["tiny/plain/0"].num_parameters
    skips, mixes = 32 * 64, 32 * 32
    added = {"plain": 0, "agency": 8 * gate, "agency_skips": 8 * gate + skips,
             "agency_baseline": 8 * gate + mixes + dense,
             "agency_all": 8 * gate + skips + mixes + dense}  # fmt: skip
    for name, row in rows.items():
        arm, frozen = name.split("/")[1], "baseline" in name or "all" in name
        gone = 2 * row.num_heads_removed * (head + gate * (arm != "plain"))
        assert row.num_parameters == dense + added[arm] - gone, name
        # the output head is tied to the embedding, so the decoder has every parameter
        assert row.num_frozen_parameters == (dense if frozen else 0)


def test_shared_memory_changes_no_logit_and_is_not_shared_within_a_model(
    found: dict[str, Variant],
) -> None:
    dense, both = found["plain/0"].model, found["agency_all/50"].model
    ids = torch.arange(9)[None]
    assert torch.equal(found["agency_all/0"].model(ids).logits, dense(ids).logits)
    assert torch.equal(both(ids).logits, found["plain/50"].model(ids).logits)
    own = both.get_parameter("transformer.h.1.mlp.c_fc.weight").data_ptr()
    frozen = both.get_parameter("agency_baseline.decoder.h.1.mlp.c_fc.weight").data_ptr()
    assert own == dense.get_parameter("transformer.h.1.mlp.c_fc.weight").data_ptr() != frozen
    other = found["agency_baseline/0"].model
    assert other.get_parameter("agency_baseline.decoder.h.1.mlp.c_fc.weight").data_ptr() == frozen


def test_weights_that_differ_are_not_shared() -> None:
    dense = gpt2_of("tiny", "cpu")
    other = copy.deepcopy(dense)
    other.get_parameter("transformer.h.0.mlp.c_fc.weight").data[0, 0] += 1
    before = other(torch.arange(9)[None]).logits
    share_memory(other, dense, gpt2_of("tiny", "cpu"))
    assert torch.equal(other(torch.arange(9)[None]).logits, before)
    embedding = dense.get_input_embeddings().get_parameter("weight")
    assert other.get_input_embeddings().get_parameter("weight").data_ptr() == embedding.data_ptr()


def test_dense_model_is_timed_twice_and_never_follows_itself(
    found: dict[str, Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode in ("prefill", "decode"):
        monkeypatch.setattr(levels, mode, lambda _ids, model, _number: model)
    dense = found["plain/0"].model
    modes = dict(levels._actions(dense, found, SCALES["tiny"]))
    assert list(modes) == ["prefill", "decode"]
    for actions in modes.values():
        timed = {name: id(action) for name, action in actions.items()}
        models = {"dense": dense, **{name: one.model for name, one in found.items()}}
        assert timed == {name: id(model) for name, model in models.items()}
        order = list(timed.values())
        places = [place for place, model in enumerate(order) if model == id(dense)]
        assert len(places) == 2
        # rounds go round: the last is followed by the first
        assert 1 < places[1] - places[0] < len(order) - 1


def test_smaller_model_has_nearly_twice_as_many_rounds() -> None:
    assert [num_rounds(width, 11) for width in ("16m", "124m")] == [21, 11]


@pytest.mark.parametrize(
    ("wall", "cpu", "on_cpu", "passed"),
    [
        ((1.2, 1.3, 1.4), (0.9, 1.0, 1.1), True, True),
        ((0.9, 1.0, 1.1), (1.01, 1.02, 1.03), True, False),
        ((0.9, 1.0, 1.1), (0.97, 0.98, 0.99), True, False),
        ((1.2, 1.3, 1.4), (0.9, 1.0, 1.1), False, False),
    ],
    ids=["busy machine", "slower", "faster", "slower device"],
)
def test_dense_model_has_to_take_as_long_as_itself(
    wall: tuple[float, ...], cpu: tuple[float, ...], on_cpu: bool, passed: bool
) -> None:
    samples = [Sample(*times) for times in zip(wall, cpu, strict=True)]
    one = compare("16m/prefill/plain/0", ("m", samples), ("p", [Sample(1, 1)] * 3))
    assert check_twice(one, on_cpu=on_cpu).passed is passed


def _slow(name: str) -> Comparison:
    return compare(name, ("m", [Sample(2, 2)] * 3), ("p", [Sample(1, 1)] * 3))


def test_both_controls_of_every_size_and_mode_are_checked() -> None:
    names = [f"16m/{mode}/{variant}" for mode in ("prefill", "decode")
             for variant in ("plain/0", "plain/50", "agency/0", "plain/50_masked")]  # fmt: skip
    found = checks([_slow(name) for name in names], on_cpu=True)
    assert [check.name.split()[0].strip(",") for check in found] == [
        "16m/prefill/plain/0",
        "16m/decode/plain/0",
        "16m/prefill/plain/50_masked",
        "16m/decode/plain/50_masked",
    ]
    assert not any(check.passed for check in found)


def test_levels_of_an_arm_are_shown_in_a_line(section: LevelsSection) -> None:
    lines = lines_of(section)
    (line,) = (one for one in lines if one.startswith("tiny/decode/agency_skips,"))
    assert [cell.split()[0] for cell in line.split(": ")[1].split("; ")] == ["0", "30", "50", "70"]
    (line,) = (one for one in lines if one.startswith("tiny/agency_skips,"))
    assert line.endswith("million parameters: 0 0.1; 30 0.1; 50 0.1; 70 0.1")
