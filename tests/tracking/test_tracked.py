"""What trackers are told, once each; and that a tracker never ends a run or changes a number."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import PartialState

from sentinel_research.errors import UsageError
from sentinel_research.pipeline import run
from sentinel_research.progress import Progress, Silent, piece, watched
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.tracking import Tracked, check_trackers, tracked
from sentinel_research.tracking.guard import careful
from sentinel_research.training import train
from tests.cli.conftest import refused
from tests.tracking.conftest import COMMAND, SECRET, Notes, logged, new_record, shown
from tests.training.conftest import DROPOUT, blocks_of, make_model, make_spec, same, weights


def _trained(progress: Progress, steps: range, *, title: str = "recovery") -> None:
    """A training in the only cell of a run, as its stages tell it."""
    with (
        piece(progress, "mine: models", 1),
        piece(progress, "half+full", 1, kinds=["recover"]),
        piece(progress, title, 10),
    ):
        for step in steps:
            progress.log({"loss": 5.0 - step, "validation_loss": float("nan")}, step)
            progress.advance()


def test_numbers_have_the_place_of_their_cell_and_training(
    notes: type[Notes], tmp_path: Path
) -> None:
    progress = tracked(["notes"], Silent())
    with watched(progress, new_record(), tmp_path):
        _trained(progress, range(1, 3))
        with piece(progress, "mine: training", 1):
            progress.log({"loss": 1.5}, 7)
    assert logged(notes.told) == [
        ("half_full/recovery/loss", 4.0, 1),
        ("half_full/recovery/loss", 3.0, 2),
        ("training/loss", 1.5, 7),
    ]
    assert notes.told[2] == ("settings", {"name": "mine", "model.pretrained": "somewhere"}, None)
    assert notes.told[-1][0] == "finish"


def test_resumed_run_goes_on_behind_the_last_step(notes: type[Notes], tmp_path: Path) -> None:
    for steps in (range(1, 6), range(4, 9)):
        progress = tracked(["notes"], Silent())
        progress.opened(new_record(), tmp_path)
        _trained(progress, steps)
    assert [step for _, _, step in logged(notes.told)] == list(range(1, 9))


@pytest.mark.parametrize("where", ["create", "start", "settings", "log", "finish"])
@pytest.mark.parametrize(
    "error",
    [ValueError(f"https://me:{SECRET}@server/ is down"), SystemExit(3), BaseException("odd")],
    ids=["error", "exit", "base"],
)
def test_tracker_that_fails_is_reported_once_and_the_run_goes_on(
    where: str, error: BaseException, notes: type[Notes], tmp_path: Path
) -> None:
    notes.raises[where] = error
    plain, stream = shown()
    progress = Tracked(plain, ["notes"])
    record = new_record()
    with watched(progress, record, tmp_path):
        _trained(progress, range(1, 9))
    assert stream.getvalue().count("warning: the tracker notes failed to ") == 1
    (report,) = record.tracking
    assert report.failed is not None
    assert type(error).__name__ in report.failed
    assert SECRET not in stream.getvalue() + report.failed
    if where == "log":
        assert notes.told[-1][0] == "finish"


def test_one_tracker_that_fails_takes_nothing_from_another(
    notes: type[Notes], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="pip install sentinel-research[tracking]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    notes.raises["log"] = OSError("no space")
    record = new_record()
    for steps in (range(1, 4), range(2, 6)):
        progress = Tracked(Silent(), ["notes", "tensorboard"])
        with watched(progress, record, tmp_path):
            _trained(progress, steps)
    assert [bool(one.failed) for one in record.tracking] == [True, False]
    events = EventAccumulator(str(tmp_path / "tracking" / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("half_full/recovery/loss")
    assert [(one.step, one.value) for one in scalars] == [
        (step, 5.0 - step) for step in range(1, 6)
    ]


def test_interrupt_is_no_failure_of_a_tracker(notes: type[Notes], tmp_path: Path) -> None:
    notes.raises["log"] = KeyboardInterrupt()
    progress = Tracked(Silent(), ["notes"])
    record = new_record()
    with pytest.raises(KeyboardInterrupt), watched(progress, record, tmp_path):
        _trained(progress, range(1, 3))
    assert record.tracking[0].failed is None
    assert notes.told[-1][0] == "finish"


def test_state_that_cannot_be_read_costs_the_trackers_and_not_the_run(
    notes: type[Notes], tmp_path: Path
) -> None:
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "logged.json").write_text("{half")
    record = new_record()
    with watched(Tracked(Silent(), ["notes"]), record, tmp_path):
        pass
    assert "logged.json" in (record.tracking[0].failed or "")


def test_trackers_leave_accelerate_and_the_launcher_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    PartialState._reset_state()
    launched = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    with careful():
        # with the launcher's word it would wait for the other process
        assert PartialState().num_processes == 1
    assert PartialState._shared_state == {}
    assert launched.items() <= os.environ.items()


def test_other_processes_tell_no_tracker(
    notes: type[Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    silent = Silent()
    assert tracked(["notes"], silent) is silent


def test_tracked_and_loud_training_has_the_bits_of_a_silent_one(
    notes: type[Notes], tmp_path: Path
) -> None:
    silent, expected = train(make_model(**DROPOUT), make_spec(), blocks_of(21), tmp_path / "a")
    (tmp_path / "run").mkdir()
    progress = tracked(["notes"], Silent())
    with watched(progress, new_record(), tmp_path / "run"):
        told, report = train(
            make_model(**DROPOUT), make_spec(), blocks_of(21), tmp_path / "b", progress=progress
        )
    assert same(weights(silent), weights(told))
    assert report["losses"] == expected["losses"]
    losses = [(value, step) for name, value, step in logged(notes.told) if name.endswith("/loss")]
    assert losses == [(one["loss"], one["step"]) for one in expected["losses"]]
    assert any(name == "training/tokens_per_second" for name, _, _ in logged(notes.told))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'\n  Did you mean 'tensorboard'?"),
        ("aim", "the library of the tracker 'aim' is not installed\n  pip install aim"),
    ],
    ids=["unknown", "not installed"],
)
def test_tracker_that_cannot_work_is_refused_before_anything_runs(
    name: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "run", "demo", "--track", name)
    assert message in refused(capsys, "benchmark", "--model_name", "any", "--track", name)
    assert list(tmp_path.iterdir()) == []


def test_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    for name in ("mlflow", "tensorboard", "wandb"):
        with pytest.raises(UsageError, match=r"pip install sentinel-research\[tracking\]"):
            check_trackers([name])


@pytest.mark.filterwarnings("ignore")
def test_w_and_b_without_an_account_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb", reason="pip install sentinel-research[tracking]")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UsageError, match="W&B knows no account"):
        check_trackers(["wandb"])


def test_recipe_knows_nothing_of_trackers() -> None:
    assert "track" not in Recipe.model_fields
    assert {"track", "progress"} <= run.__annotations__.keys()


def test_quiet_and_verbose_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "demo", "--quiet", "--verbose")
    assert "--quiet and --verbose contradict each other" in error


@pytest.mark.xdist_group("processes")
@pytest.mark.long
def test_same_command_goes_on_with_the_trackers_runs(
    ran: Any, processes: Any, tmp_path: Path
) -> None:
    """An unfinished cell is taken up again, while one tracker cannot be reached any more."""
    for name in ("run", "mlruns", "mlflow.db"):
        place = shutil.copytree if (ran.folder / name).is_dir() else shutil.copy
        place(ran.folder / name, tmp_path / name)
    before = RunRecord.read(tmp_path / "run")
    before.cells[-1].status, before.cells[-1].evaluation = "started", None
    before.write(tmp_path / "run")
    password = "a-password-of-mine"
    done = processes.run(
        [*COMMAND, "--quiet"],
        tmp_path,
        WANDB_MODE="offline",
        MLFLOW_TRACKING_URI=f"http://me:{password}@127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert warned[0].startswith("warning: the tracker mlflow failed to begin: ")
    after = RunRecord.read(tmp_path / "run")
    assert [one.value for cell in after.cells for one in _measured(cell)] == [
        one.value for cell in ran.record.cells for one in _measured(cell)
    ]
    board, flow, biases = after.tracking
    assert board.failed is None
    assert flow.failed is not None
    assert password not in (tmp_path / "run" / "record.json").read_text() + done.stderr
    assert biases.run == ran.record.tracking[2].run
    assert biases.failed is None
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{biases.run}"))


def _measured(cell: Any) -> list[Any]:
    return [] if cell.evaluation is None else cell.evaluation.measurements


@pytest.mark.filterwarnings("ignore")
@pytest.mark.xdist_group("processes")
def test_mlflow_run_is_gone_on_with_unless_its_store_is_another(
    ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    shutil.copy(ran.folder / "mlflow.db", tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run_id = ran.record.tracking[1].run
    for known, expected in ((run_id, True), ("0" * 32, False)):
        record = new_record(tracking=[{"tracker": "mlflow", "run": known}])
        progress = Tracked(Silent(), ["mlflow"])
        with watched(progress, record, tmp_path):
            _trained(progress, range(1, 3), title=str(known))
        (report,) = record.tracking
        assert report.failed is None
        assert (report.run == known) == expected
        assert report.run is not None
        history = MlflowClient(uri).get_metric_history(report.run, f"half_full/{known}/loss")
        assert [(one.step, one.value) for one in history] == [(1, 4.0), (2, 3.0)]
        assert MlflowClient(uri).get_run(report.run).info.status == "FAILED"


@pytest.mark.xdist_group("processes")
@pytest.mark.long
def test_two_processes_track_once(processes: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install sentinel-research[tracking]")
    words = [
        *("sentinel", "train", "demo", "--output", "run", "--steps", "2", "--batch-size", "4"),
        *("--sequence-length", "32", "--track", "tensorboard"),
        *("--set", "model.config={n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32}"),
    ]
    both = processes.run_together(words, tmp_path)
    assert [one.returncode for one in both] == [0, 0], both[0].stderr[-3000:]
    record = RunRecord.read(tmp_path / "run")
    assert record.train is not None
    assert record.train["num_processes"] == 2
    assert [one.failed for one in record.tracking] == [None]
    (_,) = (tmp_path / "run" / "tracking" / "tensorboard").glob("events.*")
