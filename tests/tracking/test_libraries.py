"""What the real libraries have of a run when it is over: their own files, read back."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import RunRecord
from tests.tracking.conftest import SECRET, Ran

# the one worker that has the tracked run
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("processes")]
TRAINING, RECOVERY = "training", "random-0.5-seed0_full/recovery"


def _losses(record: RunRecord) -> dict[str, list[dict[str, Any]]]:
    """The losses of every training, by the name that trackers have for it."""
    assert record.train is not None
    found = {TRAINING: record.train["losses"]}
    for cell in record.cells:
        if cell.recover is not None:
            (phase,) = cell.recover["phases"]
            found[f"{cell.id.replace('+', '_')}/recovery"] = phase["losses"]
    return found


def _numbers(record: RunRecord) -> dict[str, float]:
    """Everything that was measured, by the name that trackers have for it."""
    return {
        f"{cell.id.replace('+', '_')}/{one.task}/{one.metric}": one.value
        for cell in record.cells
        if cell.evaluation is not None
        for one in cell.evaluation.measurements
    }


def test_record_says_where_the_run_is_tracked(ran: Ran) -> None:
    board, flow, biases = ran.record.tracking
    assert [one.failed for one in ran.record.tracking] == [None] * 3
    assert board.where == "run/tracking/tensorboard"
    assert flow.where == f"sqlite:///{ran.folder / 'mlflow.db'}"
    assert biases.where is not None
    assert list((ran.folder / "wandb").glob(f"offline-run-*-{biases.run}"))
    assert "tracked: tensorboard: run/tracking/tensorboard" in ran.stderr


def test_trackers_print_nothing_of_their_own(ran: Ran) -> None:
    assert "WANDB" not in ran.stdout
    assert not any(line.startswith("wandb:") for line in ran.stderr.splitlines())
    assert "mlflow.store" not in ran.stderr
    assert ran.stdout.startswith("demo (synthetic data): Done")


def test_losses_of_every_training_are_on_tensorboard_at_their_steps(ran: Ran) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(ran.folder / "run" / "tracking" / "tensorboard"))
    events.Reload()
    trainings = _losses(ran.record)
    assert RECOVERY in trainings
    for name, losses in trainings.items():
        scalars = events.Scalars(f"{name}/loss")
        assert [one.step for one in scalars] == [one["step"] for one in losses]
        assert [one.value for one in scalars] == pytest.approx([one["loss"] for one in losses])
        assert len(events.Scalars(f"{name}/learning_rate")) == len(losses)
    for name, value in _numbers(ran.record).items():
        (one,) = events.Scalars(name)
        assert one.value == pytest.approx(value)
    texts = set(events.Tags()["tensors"])
    assert {f"{name}/text_summary" for name in ("recipe", "measurements", "record.json")} <= texts


def test_plots_are_pictures_on_tensorboard(ran: Ran) -> None:
    pytest.importorskip("cairosvg", reason="pip install sentinel-research[tracking]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(ran.folder / "run" / "tracking" / "tensorboard"))
    events.Reload()
    plots = {path.stem for path in (ran.folder / "run").glob("*.svg")}
    assert "training_loss" in plots
    assert set(events.Tags()["images"]) == plots
    (picture,) = events.Images("training_loss")
    assert picture.width > picture.height > 200
    assert picture.encoded_image_string.startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_store_has_losses_numbers_settings_and_files(ran: Ran) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{ran.folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'sentinel_research'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == ran.record.tracking[1].run
    assert run.info.status == "FINISHED"
    for name, losses in _losses(ran.record).items():
        history = client.get_metric_history(run.info.run_id, f"{name}/loss")
        assert [one.step for one in history] == [one["step"] for one in losses]
        assert [one.value for one in history] == [one["loss"] for one in losses]
    assert _numbers(ran.record).items() <= run.data.metrics.items()
    assert run.data.params["train.num_steps"] == "12"
    files = {one.path: one for one in client.list_artifacts(run.info.run_id)}
    plots = {path.name for path in (ran.folder / "run").glob("*.svg")}
    assert files.keys() == {
        *("record.json", "report.html", "report.md", "report.json", "measurements.csv"),
        *plots,
    }
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    header, *rows = (place / "measurements.csv").read_text().splitlines()
    assert header == "cell,task,metric,value,standard error,higher is better"
    assert len(rows) == sum(
        len(cell.evaluation.measurements) for cell in ran.record.cells if cell.evaluation
    )


def _offline(folder: Path) -> list[Any]:
    """The entries of the file that `wandb sync` would send, which is a log in LevelDB's format.

    After seven bytes come blocks of 32 KiB, of chunks with checksum, length and kind each: 1 is a
    whole entry, 2 to 4 are its first, middle and last part.
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, found, parts = path.read_bytes(), 7, [], b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if at % 32768 > 32768 - 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts = (b"" if kind in (1, 2) else parts) + data[at + 7 : at + 7 + length]
        if kind in (1, 4):
            found.append(wandb_internal_pb2.Record.FromString(parts))
        at += 7 + length
    return found


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.filterwarnings("ignore")
def test_folder_of_w_and_b_has_losses_by_their_own_steps_numbers_table_and_files(ran: Ran) -> None:
    entries = _offline(ran.folder)
    kinds = [entry.WhichOneof("record_type") for entry in entries]
    history = [
        _items(entry.history.item)
        for entry, kind in zip(entries, kinds, strict=True)
        if kind == "history"
    ]
    for name, losses in _losses(ran.record).items():
        rows = [row for row in history if f"{name}/loss" in row]
        assert [row[f"{name}/step"] for row in rows] == [one["step"] for one in losses]
        assert [row[f"{name}/loss"] for row in rows] == [one["loss"] for one in losses]
    defined = {entry.metric.glob_name for entry in entries if entry.HasField("metric")}
    assert f"{RECOVERY}/*" in defined
    summary: dict[str, Any] = {}
    for entry, kind in zip(entries, kinds, strict=True):
        summary |= _items(entry.summary.update) if kind == "summary" else {}
    assert _numbers(ran.record).items() <= summary.items()
    artifacts = {
        entry.artifact.type: {one.path for one in entry.artifact.manifest.contents}
        for entry, kind in zip(entries, kinds, strict=True)
        if kind == "artifact"
    }
    plots = {path.name for path in (ran.folder / "run").glob("*.svg")}
    reports = {f"report.{suffix}" for suffix in ("html", "md", "json")}
    assert artifacts["run"] == {"record.json", *reports, *plots}
    (folder,) = ran.folder.glob("wandb/offline-run-*/files/media")
    (table,) = (folder / "table").glob("measurements*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:4] == ["cell", "task", "metric", "value"]
    assert len(content["data"]) == len(_numbers(ran.record))
    assert len(list((folder / "html").glob("*.html"))) == len(plots)


def test_no_secret_is_in_anything_that_was_written(ran: Ran) -> None:
    files = [path for path in ran.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in ran.stderr
    assert all(math.isfinite(value) for value in _numbers(ran.record).values())
