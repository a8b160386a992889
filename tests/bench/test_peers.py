"""The comparison with another package: stopped when it hangs, and fair where it works."""

import sys
import time

import pytest
import torch

from sentinel_research.bench import peer_torch_pruning as peer
from sentinel_research.bench import peers
from sentinel_research.bench.models import gpt2
from sentinel_research.bench.peer_cases import CASES, Case
from sentinel_research.bench.peer_worker import Run
from sentinel_research.bench.peers import run_steps
from sentinel_research.errors import SentinelError
from sentinel_research.timing import Sample, compare

SAY = """
import json, sys, time
def say(**words): print(json.dumps(words), flush=True)
say(begin="start", limit_seconds=60)
say(end="start", data={"a": 1})
say(begin="graph", limit_seconds=LIMIT)
""".replace("LIMIT", "0.5")


def _run(code: str) -> tuple[dict[str, dict[str, object]], str]:
    return run_steps([sys.executable, "-c", SAY + code])


def test_step_that_does_not_end_is_stopped_and_recorded() -> None:
    start = time.monotonic()
    answers, outcome = _run("time.sleep(600)")
    assert outcome == "did not finish in 0.5 s: graph"
    assert answers == {"start": {"a": 1}}
    assert time.monotonic() - start < 60


def test_step_that_raises_is_recorded() -> None:
    answers, outcome = _run("say(end='graph', data={'error': 'KeyError: 7'})")
    assert outcome == "KeyError: 7: graph"
    assert "graph" in answers


def test_process_that_dies_is_recorded_with_its_last_words() -> None:
    _, outcome = _run("sys.exit('out of cheese')")
    assert outcome == "the process ended: graph: out of cheese"


def test_steps_that_end_are_done() -> None:
    assert _run("say(end='graph', data={})")[1] == "done"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_side_of_every_case_equals_the_masked_model_and_reloads(case: Case) -> None:
    run = Run(case, "tiny", "cpu", 2)
    assert run.begun()["mask_effect"] > 0.01
    ours = run.ours()
    # float32, two layers
    assert ours["difference_from_masked"] < 1e-5
    assert ours["reloads"] == "yes"
    removed = run.dense.num_parameters() - ours["num_parameters"]
    assert removed == run.plan.parameters_removed > 0


def test_rewriting_conv1d_as_linear_changes_no_logit() -> None:
    model, ids = gpt2("tiny", "cpu"), torch.arange(8)[None]
    with torch.no_grad():
        before = model(ids).logits
        after = peer.with_linear(model)(ids).logits
    torch.testing.assert_close(after, before)
    assert type(model.get_submodule("transformer.h.0.attn.c_attn")) is torch.nn.Linear


def _answers() -> dict[str, dict[str, object]]:
    run = Run(CASES[0], "tiny", "cpu", 2)
    return {"start": run.begun(), "ours": {"num_parameters": 3, "reloads": "yes"}}


def test_unfinished_peer_leaves_its_outcome_and_no_number() -> None:
    case, comparisons = peers._collected(CASES[0], _answers(), "did not finish in 5 s: graph")
    assert case.theirs.outcome == "did not finish in 5 s: graph"
    assert case.theirs.num_parameters is None
    assert case.ours.num_parameters == 3
    assert comparisons == []


def test_finished_peer_is_compared_in_pairs() -> None:
    one = compare("c/prune", ("m", [Sample(2, 2)] * 2), ("p", [Sample(1, 1)] * 2))
    answers = {
        **_answers(),
        "graph_and_removal": {"num_parameters": 4},
        "forward_pass": {"difference_from_masked": 0.0},
        "prune_times": {"comparison": one.model_dump(mode="json")},
    }
    case, comparisons = peers._collected(CASES[0], answers, "done")
    assert case.theirs.num_parameters == 4
    assert comparisons == [one]


def test_case_that_never_reached_the_peer_is_an_error() -> None:
    with pytest.raises(SentinelError, match="llama_multi_head did not come to the peer: it broke"):
        peers._collected(CASES[0], {}, "it broke")


# what Torch-Pruning itself does; only where it is installed


@pytest.mark.parametrize("name", ["llama_multi_head", "llama_grouped_query"])
def test_peer_that_is_told_the_heads_meets_the_masked_model(name: str) -> None:
    pytest.importorskip("torch_pruning")
    (case,) = (one for one in CASES if one.name == name)
    run = Run(case, "tiny", "cpu", 2)
    ours, theirs = run.ours(), run.graph_and_removal()
    assert theirs["num_parameters"] == ours["num_parameters"]
    # float32, two layers
    assert run.forward_pass()["difference_from_masked"] < 1e-5
    assert run.saving() == {"reloads": "yes", "reloads_pickled": "yes"}


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
@pytest.mark.parametrize("name", ["llama_by_ratio", "gpt2"])
def test_peer_that_is_asked_by_ratio_removes_nothing_and_does_not_say_so(name: str) -> None:
    pytest.importorskip("torch_pruning")
    (case,) = (one for one in CASES if one.name == name)
    run = Run(case, "tiny", "cpu", 2)
    assert run.graph_and_removal()["num_parameters"] == run.dense.num_parameters()
