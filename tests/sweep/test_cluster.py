"""A sweep on a ray cluster of this machine, one of whose workers is killed."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.errors import UsageError
from sentinel_research.record import RunRecord
from sentinel_research.sweep import run_sweep
from sentinel_research.sweep.executors import Finished as FinishedCell
from sentinel_research.sweep.executors import Order
from tests.sweep.conftest import Finished, values

ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e .[cluster]")
pytestmark = pytest.mark.xdist_group("sweep")


class _Killing:
    """A cluster whose worker is killed with the cell that it is at, after the first it returned."""

    def __init__(self) -> None:
        from sentinel_research.sweep.cluster import RayCluster

        self._cluster = RayCluster(num_workers=2)
        self.num_workers = self._cluster.num_workers
        self.seen: list[tuple[str, str]] = []
        self.processes: list[int] = []

    def run(self, order: Order) -> Iterator[FinishedCell]:
        for finished in self._cluster.run(order):
            assert finished.record.cell_of is not None
            self.seen.append((finished.model, finished.record.cells[0].id))
            self.processes.append(int(finished.record.cell_of.computed_on.split()[-1]))
            if len(self.processes) == 1:
                os.kill(self.processes[0], signal.SIGKILL)
            yield finished


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_cluster_that_loses_a_worker_ends_with_the_same_numbers(
    finished: Finished, tmp_path: Path
) -> None:
    cluster = _Killing()
    swept = run_sweep(finished.recipe, tmp_path, executor=cluster)
    assert swept.is_sound, swept.failures
    assert (swept.num_done, swept.num_computed) == (10, 10)
    # a cell comes back once, and the killed process computes nothing after the first
    assert len(cluster.seen) == len(set(cluster.seen)) == 10
    assert cluster.processes.count(cluster.processes[0]) == 1
    assert len(set(cluster.processes)) >= 3
    for ours, theirs in zip(swept.models, finished.swept.models, strict=True):
        assert values(RunRecord.read(ours)) == values(RunRecord.read(theirs))
        for cell in RunRecord.read(ours).cells:
            assert cell.evaluation is not None
            (samples,) = cell.evaluation.samples.values()
            assert (ours / samples).read_bytes() == (theirs / samples).read_bytes()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"], ids=["address", "client"])
def test_address_that_does_not_answer_is_refused_within_seconds(scheme: str) -> None:
    from sentinel_research.sweep.cluster import RayCluster

    address = f"{scheme}127.0.0.1:{_free_port()}"
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"no ray cluster answers at {address}") as refused:
        RayCluster(address)
    assert "ray start --head" in refused.value.hint
    # ray's own limit is a minute
    assert time.monotonic() - start < 30
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "timed out"), (b"HTTP/1.1 400 Bad Request\r\n", "what answers at .* is no ray cluster")],
    ids=["silence", "another protocol"],
)
def test_address_of_something_else_is_refused_within_seconds(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel_research.sweep import cluster

    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        served = pool.submit(_serve, server, answer)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=said) as refused:
            cluster.RayCluster(address)
        served.result()
    assert "ray start --head" in refused.value.hint
    assert not ray.is_initialized()


def _serve(server: socket.socket, answer: bytes) -> None:
    """Take one connection, say something, and wait until the other side has gone."""
    connection, _ = server.accept()
    # what was said and not read ends the connection the hard way
    with connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(answer)
        while connection.recv(64):
            pass


def test_address_that_is_none_is_refused() -> None:
    from sentinel_research.sweep.cluster import RayCluster

    with pytest.raises(UsageError, match="--address nowhere is no address"):
        RayCluster("nowhere")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--executor", "ray"], "add `sweep: {}`", id="no sweep"),
        pytest.param(["--address", "auto"], "add --executor ray", id="no cluster"),
        pytest.param(["--workers", "2"], "add --executor ray", id="no workers"),
        pytest.param(
            ["--executor", "ray", "--workers", "0", "--set", "sweep={}"],
            "take 1 or more",
            id="none",
        ),
    ],
)
def test_flags_of_a_cluster_go_together(
    words: list[str], said: str, capsys: pytest.CaptureFixture[Any]
) -> None:
    assert main(["run", "demo", *words]) == 2
    assert said in capsys.readouterr().err
