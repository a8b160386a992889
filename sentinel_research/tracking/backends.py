"""How each tracker of accelerate is begun and gone on with, and what it can hold beside numbers.

Numbers go the way that accelerate has for all trackers. Files, plots and tables have no such way,
and the three that we know get them by their own; the others get numbers and settings alone.
"""

import abc
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentinel_research.record import RunRecord
from sentinel_research.redact import redacted, redacted_values
from sentinel_research.tracking.final import COLUMNS, Final

PROJECT = "sentinel_research"
"""Project or experiment, where the tracker's own variable names no other."""
FOLDER = "tracking"
"""In the run folder, for trackers that write files and have no place of their own."""
# all trackers take these in the name of a metric; MLflow refuses others
_REFUSED = re.compile(r"[^\w\-./ ]")
_LONGEST_SETTING = 500
_PLOT_SCALE = 1.5


class Backend(abc.ABC):
    """One tracker of one run; what its library raises is the caller's to catch.

    Args:
        name: As accelerate knows it.
        record: Of the run.
        folder: Of the run.
    """

    run: str | None = None
    """What the tracker calls the run."""
    where: str | None = None
    """Address or folder."""

    def __init__(self, name: str, record: RunRecord, folder: Path) -> None:
        self.name = name
        self._record, self._folder = record, folder
        self._tracker: Any = None

    def _begin(self, *given: Any, **options: Any) -> None:
        """Begin accelerate's tracker, in this process whichever of several it is."""
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = LOGGER_TYPE_TO_CLASS[self.name]
        if kind.requires_logging_directory:
            place = self._folder / FOLDER
            place.mkdir(exist_ok=True)
            given = (*given, str(place))
        self._tracker = kind(*given, **options)
        # the main process alone is here; asking who that is would wait for the others
        self._tracker.main_process_only = False
        self._tracker.start()

    @property
    def _settings(self) -> dict[str, Any]:
        """The recipe, as nested as it is written."""
        found: dict[str, Any] = redacted_values(self._record.recipe)
        return found

    @abc.abstractmethod
    def begin(self, run: str | None) -> None:
        """Begin a run, or go on with the one that the tracker calls `run`."""

    @abc.abstractmethod
    def log(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """Numbers of one training at one of its steps."""

    @abc.abstractmethod
    def summarise(self, values: Mapping[str, float]) -> None:
        """Numbers that are measured once."""

    @abc.abstractmethod
    def hand_over(self, final: Final) -> None:
        """Record, report, plots and table."""

    @abc.abstractmethod
    def close(self, *, is_done: bool) -> None:
        """The run is over."""


class TensorBoard(Backend):
    """Event files in the run folder; an interrupted run adds a file to those that are there."""

    def begin(self, run: str | None) -> None:  # noqa: ARG002
        """See Backend."""
        self._begin(self.name)
        self.where = str(self._folder / FOLDER / self.name)
        text = json.dumps(self._settings, indent=1, ensure_ascii=False)
        self._tracker.tracker.add_text("recipe", f"```json\n{text}\n```")

    def log(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """See Backend."""
        self._tracker.log(_named({f"{prefix}/{key}": one for key, one in values.items()}), step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """See Backend."""
        self._tracker.log(_named(values), 0)

    def hand_over(self, final: Final) -> None:
        """See Backend; plots are pixels, since nothing else can be shown."""
        writer = self._tracker.tracker
        writer.add_text(final.place("measurements"), final.table_as_markdown())
        writer.add_text(final.place("status"), final.verdict)
        for path in final.files:
            if path.suffix == ".json":
                writer.add_text(final.place(path.name), f"```json\n{path.read_text()}\n```")
        writer.flush()
        for figure in final.figures:
            image = _pixels(figure)[None]
            name = final.place(figure.stem)
            self._tracker.log_images({name: image}, 0, dataformats="NHWC")

    def close(self, *, is_done: bool) -> None:  # noqa: ARG002
        """See Backend."""
        self._tracker.finish()


class MLflow(Backend):
    """A run of an experiment, at MLFLOW_TRACKING_URI or where MLflow writes by itself."""

    def begin(self, run: str | None) -> None:
        """See Backend."""
        # a server that does not answer would be asked for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        known = run if run is not None and self._is_there(run) else None
        tags = {"recipe_fingerprint": self._record.recipe_fingerprint, "folder": str(self._folder)}
        self._begin(PROJECT, run_id=known, run_name=self._record.name, tags=tags)
        self.run = self._tracker.tracker.info.run_id
        self.where = redacted(mlflow.get_tracking_uri())
        if known is None:
            self._tracker.store_init_configuration(_flat(self._settings))

    @staticmethod
    def _is_there(run: str) -> bool:
        """Whether a run can be gone on with: its store may be another one by now."""
        import mlflow
        from mlflow.exceptions import MlflowException

        try:
            found = mlflow.MlflowClient().get_run(run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return bool(found.info.lifecycle_stage == "active")

    def log(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """See Backend."""
        self._tracker.log(_named({f"{prefix}/{key}": one for key, one in values.items()}), step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """See Backend."""
        self._tracker.log(_named(values), 0)

    def hand_over(self, final: Final) -> None:
        """See Backend."""
        import mlflow

        for path in (*final.files, *final.figures):
            self._tracker.log_artifact(str(path), final.label or None)
        mlflow.log_text(final.table_as_csv(), final.place("measurements.csv"))

    def close(self, *, is_done: bool) -> None:
        """See Backend."""
        import mlflow

        mlflow.end_run("FINISHED" if is_done else "FAILED")


class WeightsAndBiases(Backend):
    """A run of a project; WANDB_MODE=offline writes it to a folder."""

    def begin(self, run: str | None) -> None:
        """See Backend."""
        import wandb

        # one live display at a time, and nothing sent that the record does not have: neither the
        # command line, which may hold what is secret, nor what is written to the terminal
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._begin(
            os.environ.get("WANDB_PROJECT", PROJECT),
            name=self._record.name,
            id=run,
            resume="allow" if run is not None else None,
            # never one that the caller has open
            reinit="create_new",
            settings=settings,
        )
        own = self._tracker.tracker
        own.config.update(self._settings, allow_val_change=True)
        self.run = own.id
        self.where = str(own.settings.sync_dir) if own.offline else redacted(own.url or "")
        self._has_steps = set[str]()

    def log(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """See Backend; W&B has one step for all, so every training has a number for its own."""
        place = _clean(prefix)
        if place not in self._has_steps:
            self._has_steps.add(place)
            self._tracker.tracker.define_metric(f"{place}/step")
            self._tracker.tracker.define_metric(f"{place}/*", step_metric=f"{place}/step")
        own = {f"{place}/{key}": one for key, one in values.items()}
        self._tracker.log({**own, f"{place}/step": step})

    def summarise(self, values: Mapping[str, float]) -> None:
        """See Backend."""
        self._tracker.tracker.summary.update(_named(values))

    def hand_over(self, final: Final) -> None:
        """See Backend."""
        import wandb

        own = self._tracker.tracker
        own.summary.update({final.place("status"): final.verdict})
        # a column has one type: what is not there is not a number
        rows = [[*row[:4], row[4], str(row[5])] for row in final.rows]
        table = wandb.Table(columns=list(COLUMNS), data=rows, allow_mixed_types=True)
        plots = {final.place(one.stem): wandb.Html(one.read_text()) for one in final.figures}
        self._tracker.log({final.place("measurements"): table, **plots})
        parts = [self._record.name, *([final.label] if final.label else []), own.id]
        artifact = wandb.Artifact("-".join(parts), type="run")
        for path in (*final.files, *final.figures):
            artifact.add_file(str(path), name=path.name)
        own.log_artifact(artifact)

    def close(self, *, is_done: bool) -> None:
        """See Backend."""
        self._tracker.tracker.finish(exit_code=0 if is_done else 1)


class Other(Backend):
    """Any other tracker that accelerate knows: settings and numbers, always in a run of its own."""

    def begin(self, run: str | None) -> None:  # noqa: ARG002
        """See Backend."""
        self._begin(PROJECT)
        self._tracker.store_init_configuration(_flat(self._settings))

    def log(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """See Backend."""
        self._tracker.log(_named({f"{prefix}/{key}": one for key, one in values.items()}), step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """See Backend."""
        self._tracker.log(_named(values), 0)

    def hand_over(self, final: Final) -> None:
        """See Backend; its numbers have been sent as they were measured."""

    def close(self, *, is_done: bool) -> None:  # noqa: ARG002
        """See Backend."""
        self._tracker.finish()


def backend(name: str, record: RunRecord, folder: Path) -> Backend:
    """The tracker of a name, which has not begun."""
    kinds: dict[str, type[Backend]] = {
        "tensorboard": TensorBoard,
        "mlflow": MLflow,
        "wandb": WeightsAndBiases,
    }
    return kinds.get(name, Other)(name, record, folder)


def _clean(name: str) -> str:
    return _REFUSED.sub("_", name)


def _named(values: Mapping[str, float]) -> dict[str, float]:
    return {_clean(name): value for name, value in values.items()}


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Settings by their dotted keys; long lists are cut, the record has them whole."""
    if isinstance(value, dict) and value:
        return {
            key: one
            for name, inner in value.items()
            for key, one in _flat(inner, f"{place}.{name}" if place else str(name)).items()
        }
    if value is None or isinstance(value, bool | int | float):
        return {_clean(place): value}
    text = value if isinstance(value, str) else json.dumps(value)
    return {_clean(place): text[:_LONGEST_SETTING]}


def _pixels(figure: Path) -> Any:
    """An SVG as pixels on white, `[height, width, 3]`.

    Raises:
        OSError: without the system's libcairo.
    """
    import io

    import cairosvg
    import numpy as np
    from PIL import Image

    data = cairosvg.svg2png(
        bytestring=figure.read_bytes(), background_color="white", scale=_PLOT_SCALE
    )
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
