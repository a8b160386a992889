"""What a person does to a session, and that it shows what a run would find."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.explorer import opening
from sentinel_research.explorer.opening import open_session
from sentinel_research.explorer.probe import Readings, read
from sentinel_research.explorer.scorebook import Asked
from sentinel_research.explorer.session import Session
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.explorer.worker import Stop, Urgency
from sentinel_research.explorer.writing import Prompt
from sentinel_research.pipeline import run
from sentinel_research.progress import Silent
from sentinel_research.pruning import plan_units
from sentinel_research.recipe import load_recipe
from sentinel_research.specs import PruneSpec
from sentinel_research.specs.explore import ExploreSpec
from tests.explorer.conftest import Gate, request


def test_new_session_shows_the_whole_model_measured(session: Session) -> None:
    assert session.wait(60)
    state = session.state()
    assert state["removed"] == []
    assert state["predicted"]["total"] == 0
    assert state["whole"]["quality"]["metric"] == "token_perplexity"
    assert state["whole"]["size"]["parameters"] == session.subject.model.num_parameters()
    assert session.facts()["synthetic_data"] is False


def test_exported_plan_run_by_itself_gives_the_numbers_of_the_page(
    session: Session, tmp_path: Path
) -> None:
    session.toggle(["L0H1-2", "L1N3-9", "L2.ffn"])
    assert session.wait(120)
    state, (name, text) = session.state(), session.export()
    path = tmp_path / name
    path.write_text(text)
    record = run(load_recipe(str(path)).recipe, tmp_path / "run")
    dense, pruned = (cell.evaluation for cell in record.cells)
    assert record.status == "done"
    for shown, found in ((state["whole"], dense), (state["measured"], pruned)):
        assert found is not None
        headline = found.headline("sentinel_bottles")
        assert headline is not None
        quality = shown["quality"]
        assert (quality["metric"], quality["value"], quality["error"]) == (
            headline.metric, headline.value, headline.stderr
        )  # fmt: skip
    report = record.cells[1].prune
    assert report is not None
    measured, expected = state["measured"]["size"], state["expected"]
    assert measured["parameters"] == expected["parameters"] == report["num_parameters_after"]
    assert measured["flops_per_token"] == expected["flops_per_token"]
    assert measured["flops_per_token"] == report["flops_per_token_after"]
    for phase in ("prefill", "decode"):
        middle, low, high = state["measured"]["speed"][phase]
        assert 0 < low <= middle <= high


def test_loss_is_measured_on_the_text_that_it_was_predicted_for(session: Session) -> None:
    session.toggle(["L1H2"])
    assert session.wait(60)
    state = session.state()
    # of one unit the prediction is a measurement
    gained = state["measured"]["loss"]["gained"]
    assert gained == pytest.approx(state["predicted"]["total"], abs=1e-5)
    assert gained != 0


def test_toggling_twice_puts_back(session: Session) -> None:
    session.toggle(["L0H1", "L1.ffn"])
    session.toggle(["L0H2"])
    assert session.state()["removed"] == ["L0H1-2", "L1.ffn"]
    # of units some of which are gone, all go
    session.toggle(["L0H0-2"])
    assert session.state()["removed"] == ["L0H0-2", "L1.ffn"]
    session.toggle(["L0H0-2"])
    assert session.state()["removed"] == ["L1.ffn"]


def test_block_that_comes_back_is_as_it_was(session: Session) -> None:
    session.toggle(["L0H1"])
    session.toggle(["L0.attention"])
    assert session.state()["removed"] == ["L0.attention"]
    session.toggle(["L0.attention"])
    assert session.state()["removed"] == ["L0H1"]


def test_undo_and_redo_walk_through_the_choices(session: Session) -> None:
    for name in ("L0H0", "L0H1"):
        session.toggle([name])
    session.undo()
    state = session.state()
    assert (state["removed"], state["can_undo"], state["can_redo"]) == (["L0H0"], True, True)
    session.redo()
    assert session.state()["removed"] == ["L0H0-1"]
    session.undo()
    session.toggle(["L2H4"])
    assert not session.state()["can_redo"]
    for _ in range(5):
        session.undo()
    assert session.state()["removed"] == []


def test_choice_by_score_is_the_plan_of_the_stage(session: Session) -> None:
    session.toggle(["L0N5"])
    session.choose(Asked("magnitude_l2", "head", 0.4, "local"))
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4)
    plan = plan_units(session.subject.model, spec).plan
    # what was chosen of other kinds stays
    assert session.plan.kept[1:] == plan.kept[1:]
    assert session.plan.kept[0].heads == plan.kept[0].heads
    assert 5 not in session.plan.kept[0].neurons
    assert session.state()["asked"]["scorer"] == "magnitude_l2"
    session.toggle(["L0H0"])
    assert session.state()["asked"] is None


def test_blocks_are_chosen_by_score_too(session: Session) -> None:
    session.choose(Asked("leave_one_out", "layer", 0.4))
    assert session.state()["counts"] == {"attention": 1, "ffn": 1}
    session.choose(Asked("leave_one_out", "layer", 0))
    assert session.state()["removed"] == []


def test_groups_of_heads_are_chosen_together(folder: Path, tmp_path: Path) -> None:
    spec = request(folder, "llama")
    with contextlib.closing(open_session(spec, Silent(), Shelf(tmp_path))) as session:
        session.choose(Asked("wanda", "kv_group", 0.25, "local"))
        assert session.state()["counts"] == {"head": 6}
        assert {len(layer.heads) for layer in session.plan.kept} == {6}


def test_leave_one_out_is_not_measured_again_for_its_scores(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel_research.explorer.scorebook.score_units", None)
    found = session.scores("leave_one_out", "head")
    assert found["values"] == session.effects.by_layer("head")
    assert found["errors"] == session.effects.errors_by_layer("head")


def test_scores_that_are_there_do_not_wait_for_what_is_measured(session: Session) -> None:
    found, gate, ended = session.scores("wanda", "head"), Gate(), list[str]()

    def slow(_: Stop) -> None:
        gate.begun.set()
        gate.may_end.wait(5)
        ended.append("slow")

    session._worker.submit(Urgency.LOSS, slow, ended.append)
    assert gate.begun.wait(10)
    assert session.scores("wanda", "head") == found
    assert ended == []
    gate.may_end.set()
    assert session.wait(10)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("wnada", "head", 0.5), r"Did you mean 'wanda'\?"),
        (Asked("entropy_low", "neuron", 0.5), "does not score neurons"),
        (Asked("wanda", "weight", 0.5), "unknown kind of unit 'weight'"),
        (Asked("wanda", "head", 1.5), r"fraction 1\.5"),
        (Asked("wanda", "head", 0.5, "nowhere"), "scope 'nowhere'"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, value)),
)
def test_choice_that_makes_no_sense_is_refused(session: Session, asked: Asked, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        session.choose(asked)


def test_a_model_of_which_nothing_is_left_is_refused(session: Session) -> None:
    everything = [f"L{layer}.{block}" for layer in range(3) for block in ("attention", "ffn")]
    with pytest.raises(UsageError, match="plan removes everything"):
        session.toggle(everything)
    assert session.state()["removed"] == []
    session.toggle(everything[1:])


def test_nothing_chosen_cannot_be_exported(session: Session) -> None:
    with pytest.raises(UsageError, match="nothing is chosen"):
        session.export()


def test_tried_choices_can_be_shown_again_without_measuring(session: Session) -> None:
    session.toggle(["L0H0"])
    session.toggle(["L1.ffn"])
    assert session.wait(120)
    rows = session.state()["tried"]
    assert [row["counts"] for row in rows] == [{"head": 1}, {"head": 1, "ffn": 1}]
    assert rows[1]["quality"] is not None
    session.restore(1)
    state = session.state()
    assert state["measured"]["speed"] is not None
    assert [row["is_current"] for row in state["tried"]] == [False, True]
    with pytest.raises(UsageError, match="no choice 7"):
        session.restore(7)


def test_both_models_write_behind_the_prompt_and_again_after_a_change(session: Session) -> None:
    prompt = Prompt("ab", num_tokens=6)
    session.write(prompt)
    assert session.wait(60)
    texts = session.state()["texts"]
    assert texts["whole"] == texts["pruned"]
    session.toggle(["L0.attention", "L1.attention", "L2.attention"])
    assert session.wait(120)
    changed = session.state()["texts"]
    assert changed["whole"] == texts["whole"]
    assert changed["pruned"] not in (None, texts["whole"])


def test_prompt_without_room_behind_it_is_refused_in_words(session: Session) -> None:
    session.write(Prompt("x" * 64))
    assert session.wait(60)
    assert "and the model reads 64" in session.state()["problem"]


def test_second_start_measures_nothing_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, shelf, missing = request(folder), Shelf(tmp_path), []

    def reading(*given: Any, **options: Any) -> None:
        readings: Readings = given[2]
        missing.append(sum((row != row).any() for row in readings["losses"]))
        read(*given, **options)

    monkeypatch.setattr(opening, "read", reading)
    with contextlib.closing(open_session(spec, Silent(), shelf)) as session:
        heads, neurons = session.effects.by_layer("head"), session.scores("wanda", "neuron")
    monkeypatch.setattr("sentinel_research.explorer.scorebook.score_units", None)
    with contextlib.closing(open_session(spec, Silent(), shelf)) as again:
        assert again.effects.by_layer("head") == heads
        assert again.scores("wanda", "neuron") == neurons
    assert missing == [1 + 3 * (5 + 2), 0]


@pytest.mark.long
def test_run_brings_its_model_text_measurement_and_plans(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    recipe = {
        "name": "pruned",
        "description": "d",
        "model": {"pretrained": str(folder / "gpt2")},
        "prune": {
            "scorers": ["magnitude_l2"],
            "fractions": [0.2, 0.4],
            "calibration": {"corpus": "bottles", "num_sequences": 3, "sequence_length": 11},
        },
        "corpora": {"bottles": {"path": str(folder / "bottles")}},
        "evaluate": {"tasks": ["sentinel_bottles"], "limit": 2},
    }
    (tmp_path / "pruned.yaml").write_text(yaml.safe_dump(recipe))
    record = run(load_recipe(str(tmp_path / "pruned.yaml")).recipe, tmp_path / "run")
    spec = ExploreSpec(target=f"{tmp_path / 'run'}:magnitude_l2-0.4")
    with contextlib.closing(open_session(spec, Silent(), shelf)) as session:
        assert session.wait(120)
        state, facts = session.state(), session.facts()
        assert [one["name"] for one in facts["plans"]] == ["magnitude_l2-0.2", "magnitude_l2-0.4"]
        assert (facts["text"]["num_sequences"], facts["text"]["sequence_length"]) == (3, 11)
        assert state["removed"] == facts["plans"][1]["units"]
        report = record.cells[2].evaluation
        assert report is not None
        headline = report.headline(None)
        assert headline is not None
        assert state["measured"]["quality"]["value"] == headline.value
    with pytest.raises(UsageError, match=r"'wanda-0\.4' is no cell"):
        open_session(ExploreSpec(target=f"{tmp_path / 'run'}:wanda-0.4"), Silent(), shelf)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"target": "nowhere/at/all"}, CheckpointError, "no model folder"),
        ({"corpus": "botles"}, UsageError, "botles"),
        ({"sequence_length": 65}, UsageError, "65 tokens"),
        ({"patience": 1e-7}, UsageError, "--estimates gradients"),
        ({"overrides": ("evaluate.prefix_token_id=9999",)}, UsageError, "prefix_token_id = 9999"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
@pytest.mark.long
def test_what_cannot_be_explored_is_refused_before_the_page_opens(
    folder: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = request(folder)
    changes["overrides"] = (*given.overrides, *changes.pop("overrides", ()))
    spec = given.model_copy(update=changes)
    with pytest.raises(error) as caught:
        open_session(spec, Silent(), Shelf(tmp_path))
    assert said in str(caught.value)


def test_gradients_open_a_page_without_leaving_anything_out(folder: Path, tmp_path: Path) -> None:
    spec = request(folder, estimates="gradients")
    with contextlib.closing(open_session(spec, Silent(), Shelf(tmp_path))) as session:
        assert session.facts()["oracle"] == "fisher"
        assert not session.facts()["is_measured"]
        session.toggle(["L0H1"])
        assert session.state()["predicted"]["total"] != 0


def test_default_text_is_the_synthetic_language_and_marked_so(folder: Path, tmp_path: Path) -> None:
    spec = request(folder, corpus=None, overrides=(), estimates="gradients")
    with contextlib.closing(open_session(spec, Silent(), Shelf(tmp_path))) as session:
        assert session.facts()["synthetic_data"] is True
        assert session.facts()["tasks"] == ["sentinel_synthetic"]
        session.toggle(["L0H1"])
        assert "# Data: synthetic" in session.export()[1]
