"""The cells of a sweep on a Ray cluster [1].

A worker is a process that keeps one model and what its cells share, and is asked for one cell at a
time. What it computes comes back as JSON and bytes, and the process that was started by the user
writes it: workers need no disk in common. A worker that is lost costs the cell that it was at; the
cell and the rest of its batch go to another one. As only the writer keeps records, and keeps the
first of each cell, nothing can be lost or counted twice.

Reference: [1] Moritz et al. 2018, Ray: A Distributed Framework for Emerging AI Applications,
https://arxiv.org/abs/1712.05889.
"""

import os
import re
import socket
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sentinel_research import __version__
from sentinel_research.cells import RECOVERY_FOLDER
from sentinel_research.errors import SentinelError, StorageError, UsageError
from sentinel_research.evaluation.questions import Questions
from sentinel_research.inputs import define_inputs
from sentinel_research.process import prepare_process
from sentinel_research.progress import Silent
from sentinel_research.record import CELLS_FOLDER, RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.sweep.executors import Finished, Order
from sentinel_research.sweep.plan import Batch, SweptModel
from sentinel_research.sweep.work import ModelWork, failed_record

_ADDRESS = re.compile(r"^(?:ray://)?(?P<host>[^:/\s]+):(?P<port>\d{1,5})$")
_ANSWERS_WITHIN_SECONDS = 5.0
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = 4
# length, type, flags, stream
_EMPTY_SETTINGS = bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
_CANNOT_START = "creation task"
MOST_LOSSES = 3
"""Workers that a cell may lose before it counts as failed: it may be the one that ends them."""


class Worker:
    """Computes cells where it stands; ray makes an actor of it."""

    def __init__(self, recipe: str, version: str) -> None:
        if version != __version__:
            raise UsageError(
                f"the sweep was started by version {version}, and this machine has {__version__}",
                "install the same version everywhere: others give other numbers",
            )
        prepare_process()
        define_inputs(Recipe.model_validate_json(recipe))
        self._questions = Questions()
        self._work: ModelWork | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="sentinel-")

    def open(self, recipe: str, base: str, cells: Sequence[str]) -> None:
        """Begin a batch.

        Args:
            recipe: Of its model, JSON.
            base: The model's record without cells, JSON.
            cells: Those of the batch.
        """
        from sentinel_research.cell_plan import plan_cells

        own = Recipe.model_validate_json(recipe)
        asked = set(cells)
        self._work = ModelWork(
            own,
            RunRecord.model_validate_json(base),
            [cell for cell in plan_cells(own) if cell.id in asked],
            Path(self._folder.name),
            Silent(),
            lambda: None,
            self._questions,
        )

    def compute(self, cell: str) -> dict[str, Any]:
        """The record of a cell of the batch, JSON, and its files; or why they cannot be written."""
        assert self._work is not None  # opened before
        try:
            record = self._work.record_of(cell)
        except StorageError as error:
            return {"full": [error.message, error.hint]}
        own = Path(self._folder.name) / CELLS_FOLDER / cell
        files = {
            str(path.relative_to(own)): path.read_bytes()
            for path in own.rglob("*")
            if path.is_file() and path.relative_to(own).parts[0] != RECOVERY_FOLDER
        }
        for name in files:
            (own / name).unlink()
        return {"record": record.model_dump_json(), "files": files}


class _Job(NamedTuple):
    """What a worker is at."""

    worker: Any
    batch: Batch
    cell: str
    rest: tuple[str, ...]
    """Cells of the batch that come after it."""


class RayCluster:
    """Computes cells on the workers of a cluster.

    Args:
        address: As ray knows it: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts a cluster on
            this machine, which ends with the sweep.
        num_workers: Processes that compute; None takes all processors of the cluster, or all GPUs
            where the models stand on one.

    Raises:
        UsageError: if ray is not installed, or nothing answers at the address.
    """

    def __init__(self, address: str | None = None, num_workers: int | None = None) -> None:
        self._ray = _ray()
        self._address = address
        connect(self._ray, address, num_workers)
        self.num_workers = num_workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def run(self, order: Order) -> Iterator[Finished]:
        """See Executor.

        Raises:
            UsageError: for models that are trained first, or more workers than the cluster has room
                for.
            StorageError: if the disk of a worker is full.
        """
        try:
            self._check(order.models)
            yield from _Dispatch(self._ray, order).run(self.num_workers)
        finally:
            self._ray.shutdown()

    def _check(self, models: Mapping[str, SweptModel]) -> None:
        for model in models.values():
            if model.recipe.train is not None:
                raise UsageError(
                    f"a cluster starts from finished models, and {model.name or 'the model'} is "
                    "trained first",
                    "train it with sentinel train, and name its folder as `pretrained`",
                )
        kind = "GPU" if _on_gpu(models) else "CPU"
        room = int(self._ray.cluster_resources().get(kind, 0))
        if room < self.num_workers:
            raise UsageError(
                f"the cluster has room for {room} workers of one {kind}, and {self.num_workers} "
                "were asked for",
                f"take --workers {room}" if room else f"it has no {kind}",
            )


class _Dispatch:
    """Gives cells to workers, and takes what they return, until there are none left."""

    def __init__(self, ray: ModuleType, order: Order) -> None:
        self._ray, self._models, self._stores = ray, order.models, order.stores
        self._todo, self._progress = deque(order.batches), order.progress
        self._at: dict[Any, _Job] = {}
        self._losses = Counter[tuple[str, str]]()
        options = {"num_cpus": 1, "num_gpus": 1 if _on_gpu(order.models) else 0, "max_restarts": 0}
        self._actor = ray.remote(**options)(Worker)

    def run(self, num_workers: int) -> Iterator[Finished]:
        """Every cell as it comes to its end."""
        for _ in range(min(num_workers, len(self._todo))):
            self._next_batch(self._new_worker())
        while self._at:
            (ref, *_), _ = self._ray.wait(list(self._at), num_returns=1)
            job = self._at.pop(ref)
            try:
                found = self._ray.get(ref)
            except self._ray.exceptions.RayActorError as error:
                yield from self._lost(job, error)
                continue
            if "full" in found:
                raise StorageError(*found["full"])
            # the worker has work before anybody looks at what it has done
            self._go_on(job)
            record = RunRecord.model_validate_json(found["record"])
            yield Finished(job.batch.model, record, found["files"])

    def _new_worker(self) -> Any:
        (model, *_) = self._models.values()
        return self._actor.remote(model.recipe.model_dump_json(), __version__)

    def _next_batch(self, worker: Any) -> None:
        if not self._todo:
            self._ray.kill(worker)
            return
        batch = self._todo.popleft()
        base = self._stores[batch.model].index.model_copy(update={"cells": []})
        recipe = self._models[batch.model].recipe
        # a worker does one thing after the other: what goes wrong shows in the first cell
        worker.open.remote(recipe.model_dump_json(), base.model_dump_json(), list(batch.cells))
        self._ask(worker, batch, batch.cells)

    def _ask(self, worker: Any, batch: Batch, cells: tuple[str, ...]) -> None:
        cell, *rest = cells
        self._at[worker.compute.remote(cell)] = _Job(worker, batch, cell, tuple(rest))

    def _go_on(self, job: _Job) -> None:
        if job.rest:
            self._ask(job.worker, job.batch, job.rest)
        else:
            self._next_batch(job.worker)

    def _lost(self, job: _Job, error: Exception) -> Iterator[Finished]:
        """Give what a lost worker was at to a new one; a cell that ends them all has failed."""
        if _CANNOT_START in str(error):
            raise SentinelError(
                f"a worker of the cluster cannot start: {_last_line(error)}",
                "install this version of sentinel-research on all of its machines",
            ) from error
        self._ray.kill(job.worker)
        name = self._models[job.batch.model].label(job.cell)
        self._losses[job.batch.model, job.cell] += 1
        number = self._losses[job.batch.model, job.cell]
        cells = (job.cell, *job.rest)
        if number >= MOST_LOSSES:
            cells = job.rest
            base = self._stores[job.batch.model].index
            planned = next(c for c in self._models[job.batch.model].cells if c.id == job.cell)
            why = f"{number} workers were lost while they computed it: {_first_line(error)}"
            yield Finished(job.batch.model, failed_record(base, planned, why), {})
        else:
            self._progress.say(f"a worker was lost at {name}, another one takes over")
        if cells:
            self._todo.appendleft(Batch(job.batch.model, cells))
        if self._todo:
            self._next_batch(self._new_worker())


def connect(ray: ModuleType, address: str | None, num_workers: int | None) -> None:
    """Join a cluster, or start one on this machine.

    Raises:
        UsageError: if nothing answers at the address, within seconds.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        try:
            ray.init(num_cpus=num_workers, include_dashboard=False, **quiet)
        except Exception as error:
            # ray raises the plainest of all exceptions, and leaves half a cluster behind
            ray.shutdown()
            raise SentinelError(
                f"ray cannot start a cluster on this machine: {_first_line(error)}",
                "try again when it is less busy, or leave --executor ray out",
            ) from error
        return
    hint = "ray start --head shows the address of a cluster; without --address one is started here"
    if address != "auto":
        _check_answers(address, hint)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no ray cluster answers at {address}: {_first_line(error)}", hint
        ) from error


def _check_answers(address: str, hint: str) -> None:
    """Ray itself waits for minutes."""
    found = _ADDRESS.match(address)
    if found is None:
        raise UsageError(
            f"--address {address} is no address: auto, HOST:PORT or ray://HOST:PORT", hint
        )
    place = found["host"], int(found["port"])
    try:
        with socket.create_connection(place, timeout=_ANSWERS_WITHIN_SECONDS) as connection:
            # behind certificates nothing answers in plain words
            is_ray = "RAY_USE_TLS" in os.environ or _speaks_grpc(connection)
    except (OSError, OverflowError) as error:
        raise UsageError(f"no ray cluster answers at {address}: {error}", hint) from error
    if not is_ray:
        raise UsageError(f"what answers at {address} is no ray cluster", hint)


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether the other side begins HTTP/2 [2], as all servers of ray do.

    Reference: [2] RFC 9113, sections 3.4 and 6.5: each side's first frame is its settings.
    """
    connection.sendall(_HTTP2_PREFACE + _EMPTY_SETTINGS)
    head = b""
    while len(head) < len(_EMPTY_SETTINGS):
        # the time limit is that of the connection
        more = connection.recv(len(_EMPTY_SETTINGS) - len(head))
        if not more:
            return False
        head += more
    return head[3] == _SETTINGS


def _on_gpu(models: Mapping[str, SweptModel]) -> bool:
    return any(model.recipe.model.device.startswith("cuda") for model in models.values())


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise SentinelError(
            "ray is not installed", "pip install sentinel-research[cluster]"
        ) from error
    found: ModuleType = ray
    return found
