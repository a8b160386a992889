"""One thread does the work: the newest of a kind, the most urgent first, nothing twice at once."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from sentinel_research.errors import UsageError
from sentinel_research.explorer.worker import OutdatedError, Stop, Urgency, Worker
from tests.explorer.conftest import Gate


@pytest.fixture
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.close()


class Diary:
    """What happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def job(self, name: str, gate: Gate | None = None) -> Callable[[Stop], None]:
        """Work that begins, waits for its gate if it has one, looks whether it is wanted, ends."""

        def work(stop: Stop) -> None:
            self.lines.append(f"{name} begins")
            if gate is not None:
                gate.begun.set()
                assert gate.may_end.wait(10)
            stop.look()
            self.lines.append(f"{name} ends")

        return work


def _fail(message: str) -> None:
    raise AssertionError(message)


def test_newer_work_of_a_kind_takes_the_place_of_what_runs(worker: Worker) -> None:
    diary, gate = Diary(), Gate()
    worker.submit(Urgency.COST, diary.job("old", gate), _fail)
    assert gate.begun.wait(10)
    worker.submit(Urgency.COST, diary.job("new"), _fail)
    gate.may_end.set()
    assert worker.wait(10)
    assert diary.lines == ["old begins", "new begins", "new ends"]


def test_newer_work_of_a_kind_takes_the_place_of_what_waits(worker: Worker) -> None:
    diary, gate = Diary(), Gate()
    worker.submit(Urgency.LOSS, diary.job("first", gate), _fail)
    assert gate.begun.wait(10)
    for name in ("old", "new"):
        worker.submit(Urgency.COST, diary.job(name), _fail)
    gate.may_end.set()
    assert worker.wait(10)
    assert diary.lines == ["first begins", "first ends", "new begins", "new ends"]


def test_urgent_work_interrupts_other_work_which_begins_again(worker: Worker) -> None:
    diary, gate = Diary(), Gate()
    worker.submit(Urgency.COST, diary.job("slow", gate), _fail)
    assert gate.begun.wait(10)
    worker.submit(Urgency.LOSS, diary.job("quick"), _fail)
    gate.may_end.set()
    assert worker.wait(10)
    again = ["slow begins", "slow ends"]
    assert diary.lines == ["slow begins", "quick begins", "quick ends", *again]


def test_work_that_is_dropped_does_not_begin_again(worker: Worker) -> None:
    diary, gate = Diary(), Gate()
    worker.submit(Urgency.COST, diary.job("slow", gate), _fail)
    assert gate.begun.wait(10)
    worker.drop(Urgency.COST)
    gate.may_end.set()
    assert worker.wait(10)
    assert diary.lines == ["slow begins"]


def test_call_returns_what_it_found_in_the_workers_thread(worker: Worker) -> None:
    assert worker.call(lambda: threading.current_thread().name) == "explorer"


def test_call_raises_what_it_raised_and_the_worker_goes_on(worker: Worker) -> None:
    def refuse() -> None:
        raise UsageError("no", "so")

    with pytest.raises(UsageError, match="no"):
        worker.call(refuse)
    assert worker.call(lambda: 3) == 3


def test_two_calls_do_not_take_each_others_place(worker: Worker) -> None:
    gate, answers = Gate(), []

    def slow() -> int:
        gate.begun.set()
        assert gate.may_end.wait(10)
        return 1

    threads = [threading.Thread(target=lambda: answers.append(worker.call(slow)))]
    threads[0].start()
    assert gate.begun.wait(10)
    threads.append(threading.Thread(target=lambda: answers.append(worker.call(lambda: 2))))
    threads[1].start()
    gate.may_end.set()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [1, 2]


def test_what_failed_is_said_with_what_to_do(worker: Worker) -> None:
    said: list[str] = []

    def refuse(_: Stop) -> None:
        raise UsageError("it is wrong", "type something else")

    worker.submit(Urgency.LOSS, refuse, said.append)
    assert worker.wait(10)
    assert said == ["it is wrong\n  type something else"]


def test_a_defect_is_said_and_shown_in_the_terminal(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def broken(_: Stop) -> None:
        raise ZeroDivisionError("by nothing")

    worker.submit(Urgency.LOSS, broken, said.append)
    assert worker.wait(10)
    assert said == ["unexpected error: ZeroDivisionError: by nothing"]
    assert "Traceback" in capsys.readouterr().err


def test_closed_worker_takes_no_calls(worker: Worker) -> None:
    worker.close()
    with pytest.raises(OutdatedError):
        worker.call(lambda: None)


def test_model_stops_between_two_passes_once_nobody_waits() -> None:
    stop, model, passes = Stop(), nn.Linear(1, 1), []

    def work() -> None:
        with stop.watching(model):
            while True:
                passes.append(model(torch.zeros(1, 1)))
                if len(passes) == 2:
                    stop.ask()

    with pytest.raises(OutdatedError):
        work()
    assert len(passes) == 2
    # nothing of the watch is left on the model
    assert not model._forward_pre_hooks


def test_model_stops_within_a_pass_before_the_next_layer() -> None:
    stop, reached = Stop(), []

    class Layer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            reached.append(self)
            stop.ask()
            return x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Layer(), Layer()])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    model = Model()
    with pytest.raises(OutdatedError), stop.watching(model):
        model(torch.zeros(1))
    assert reached == [model.layers[0]]
    assert not any(layer._forward_pre_hooks for layer in model.modules())
