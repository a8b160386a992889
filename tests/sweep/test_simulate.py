"""The scheduler without models: linear in the number of cells, and as fast as its workers."""

import json
from pathlib import Path

import pytest

from sentinel_research.progress import Pace, Silent
from sentinel_research.record import RunRecord
from sentinel_research.sweep import simulate
from sentinel_research.sweep.store import CellStore


def test_simulated_sweep_keeps_every_cell_once_and_finds_all_done(tmp_path: Path) -> None:
    found = simulate.measure_overhead(120, tmp_path, Silent())
    assert found.num_cells == 201
    record = RunRecord.read(tmp_path)
    assert record.status == "done"
    assert len({cell.id for cell in record.cells}) == 201
    assert found.cell_seconds > 0


def test_files_that_are_read_and_written_grow_with_the_cells_and_no_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for number in (101, 201):
        sizes: list[int] = []
        real = CellStore.write_index

        def counted(store: CellStore, real: object = real, sizes: list[int] = sizes) -> None:
            sizes.append(1)
            real(store)  # type: ignore[operator]

        monkeypatch.setattr(CellStore, "write_index", counted)
        found = simulate.measure_overhead(number, tmp_path / str(number), Silent())
        monkeypatch.undo()
        written.append((found.bytes_each, len(sizes)))
    (few, rewritten), (many, rewritten_again) = written
    assert many == pytest.approx(few, rel=0.05)
    # the index holds all cells: it is written at the beginning and at the end
    assert rewritten == rewritten_again == 2


def test_time_left_looks_at_kinds_and_not_at_all_cells_to_come() -> None:
    class Counted(list[str]):
        read = 0

        def __getitem__(self, place: object) -> str:  # type: ignore[override]
            Counted.read += 1
            return super().__getitem__(place)  # type: ignore[call-overload, no-any-return]

    pace = Pace("cells", 1000, 0, ["a", "b"] * 500, 0.0)
    pace._kinds = Counted(pace._kinds)
    for second in range(1000):
        pace.advance(float(second + 1))
        left = pace.seconds_left(float(second + 1))
        assert left == pytest.approx(999 - second)
    assert Counted.read < 5 * 1000


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_makespan_of_equal_cells_is_near_their_share_of_each_worker(workers: int) -> None:
    found = simulate.makespan(
        960, workers, cell_seconds=10.0, load_seconds=0.0, overhead_seconds=0.0
    )
    ideal = 960 * 10.0 / workers
    # the last batch is a quarter of a worker's share at most
    assert ideal <= found.seconds <= 1.25 * ideal
    assert found.busy_fraction == pytest.approx(ideal / found.seconds)


def test_one_process_that_keeps_records_bounds_what_a_cluster_can_do() -> None:
    found = simulate.makespan(400, 200, cell_seconds=1.0, load_seconds=0.0, overhead_seconds=0.5)
    assert found.seconds >= 400 * 0.5
    assert found.busy_fraction < 0.02


def test_command_prints_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate._main("3", str(tmp_path))
    assert json.loads(capsys.readouterr().out)["num_cells"] == 3
