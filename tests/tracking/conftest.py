"""A run that was told to three trackers, and a tracker that fails where it is told to."""

import io
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from accelerate import tracking as accelerates

from sentinel_research.progress import Plain
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY
from tests.processes import Processes

RECOVERED = [
    "prune.scorers=[random]",
    "prune.seeds=[0]",
    "evaluate.limit=2",
    "recover={train: {corpus: synthetic, num_steps: 4, batch_size: 4, sequence_length: 32}}",
]
COMMAND = [
    *("sentinel", "run", "demo", "--output", "run"),
    *(word for one in (*TINY, *RECOVERED) for word in ("--set", one)),
    *("--track", "tensorboard", "--track", "mlflow", "--track", "wandb"),
]
SECRET = "hunter-twenty-two"


class Ran(NamedTuple):
    """What the run left."""

    folder: Path
    """Where the command was typed."""
    record: RunRecord
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Ran:
    """A training, two models and two recoveries, which tests only read."""
    for name in ("tensorboard", "mlflow", "wandb"):
        pytest.importorskip(name, reason="pip install sentinel-research[tracking]")
    folder = tmp_path_factory.mktemp("tracked")
    environment = {"WANDB_MODE": "offline", "MY_API_KEY": SECRET}
    done = processes.run(COMMAND, folder, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return Ran(folder, RunRecord.read(folder / "run"), done.stdout, done.stderr)


class Notes(accelerates.GeneralTracker):
    """Keeps what it is told, and raises where it is asked to."""

    name = "notes"
    requires_logging_directory = False
    told: ClassVar[list[tuple[str, Any, Any]]] = []
    raises: ClassVar[dict[str, BaseException]] = {}

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self._note("create", run_name)

    def _note(self, what: str, values: Any = None, step: Any = None) -> None:
        if what in Notes.raises:
            raise Notes.raises[what]
        Notes.told.append((what, values, step))

    @property
    def tracker(self) -> "Notes":
        return self

    def start(self) -> None:
        self._note("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._note("settings", values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self._note("log", values, step)

    def finish(self) -> None:
        self._note("finish")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> type[Notes]:
    """The tracker `notes`, which has been told nothing."""
    monkeypatch.setattr(Notes, "told", [])
    monkeypatch.setattr(Notes, "raises", {})
    monkeypatch.setitem(accelerates.LOGGER_TYPE_TO_CLASS, "notes", Notes)
    return Notes


def new_record(**changes: Any) -> RunRecord:
    """The record of a run that has begun."""
    given = {
        "name": "mine",
        "recipe": {"name": "mine", "model": {"pretrained": "somewhere"}},
        "recipe_fingerprint": "0",
        "synthetic_data": True,
        "started_at": "2026-01-01T00:00:00+00:00",
        "environment": {},
    }
    return RunRecord.model_validate({**given, **changes})


def shown() -> tuple[Plain, io.StringIO]:
    """Progress as lines, and where they go."""
    stream = io.StringIO()
    return Plain(stream), stream


def logged(told: list[tuple[str, Any, Any]]) -> list[tuple[str, float, int]]:
    """Every number that a tracker was told: its name, value and step."""
    return [
        (name, value, step)
        for what, values, step in told
        if what == "log"
        for name, value in values.items()
    ]
