"""The process in which one case runs; foreign code in it may never end, so it can be stopped.

Prints one JSON object a line: `{"begin": STEP, "limit_seconds": S}` before each step, and
`{"end": STEP, "data": {...}}` after it.
"""

import contextlib
import copy
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.bench import peer_torch_pruning as peer
from sentinel_research.bench.models import SCALES, describe
from sentinel_research.bench.peer_cases import CASES, Case
from sentinel_research.bench.schema_base import Size
from sentinel_research.cost.phases import prefill
from sentinel_research.machine import wait_for
from sentinel_research.models import place, save
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.surgery import remove
from sentinel_research.timing import Action, Comparison, compare, measure

PATIENCE = 10
"""Steps that run no foreign code for the first time get this many times the limit."""
# difference of a logit that two orders of the same sum may have
_SAME = 1e-3


class Run:
    """One case on its models; each public method is a step."""

    def __init__(self, case: Case, size: Size, device: str, num_pairs: int) -> None:
        self.case, self.size, self.device, self.num_pairs = case, size, device, num_pairs
        self.dense = case.model(size, device)
        self.plan: PruningPlan = case.plan(self.dense)
        generator = torch.Generator().manual_seed(0)
        shape = (2, SCALES[size].sequence_length)
        vocabulary = self.dense.config.vocab_size
        self.ids = torch.randint(vocabulary, shape, generator=generator).to(device)
        self.masked = self._logits(mask(self.dense, self.plan))
        self.pruned: PreTrainedModel = self.dense
        self.theirs: PreTrainedModel = self.dense

    @torch.no_grad()
    def _logits(self, model: PreTrainedModel) -> Tensor:
        logits: Tensor = model(self.ids, use_cache=False).logits
        return logits

    def _difference(self, logits: Tensor) -> float:
        return float((logits - self.masked).abs().max())

    def begun(self) -> dict[str, Any]:
        """What is compared."""
        return {
            "model": describe(self.dense).model_dump(mode="json"),
            "mask_effect": self._difference(self._logits(self.dense)),
        }

    def ours(self) -> dict[str, Any]:
        """This package's result, all of it."""
        self.pruned = remove(self.dense, self.plan)
        return {
            "num_parameters": self.pruned.num_parameters(),
            "difference_from_masked": self._difference(self._logits(self.pruned)),
            "reloads": self._reloads(
                self.pruned, lambda folder: save(self.pruned, byte_tokenizer(), folder)
            ),
        }

    def _copied(self) -> PreTrainedModel:
        copied = copy.deepcopy(self.dense)
        return peer.with_linear(copied) if self.case.as_linear else copied

    def _apply(self, model: PreTrainedModel) -> None:
        if self.case.by_ratio is None:
            peer.remove_heads(model, self.plan)
        else:
            peer.remove_by_ratio(model, self.case.by_ratio)

    def graph_and_removal(self) -> dict[str, Any]:
        """The other package's result."""
        self.theirs = self._copied()
        self._apply(self.theirs)
        return {"num_parameters": sum(p.numel() for p in self.theirs.parameters())}

    def forward_pass(self) -> dict[str, Any]:
        """Whether it runs and computes the same."""
        logits = self._logits(self.theirs)
        if self.case.by_ratio is not None:
            return {}
        return {"difference_from_masked": self._difference(logits)}

    def prune_times(self) -> dict[str, Any]:
        """Both removals in turns."""
        actions = {
            "ours": Action(lambda _: remove(self.dense, self.plan)),
            "theirs": Action(self._apply, self._copied),
        }
        return self._compared(
            "prune",
            actions,
            "removal into a new model, self-check included",
            "dependency graph and removal in place",
        )

    def forward_times(self) -> dict[str, Any]:
        """Both results in turns, one prompt."""
        ids = self.ids[:1].repeat(1, 2)[:, : SCALES[self.size].prefill_length]
        actions = {
            "ours": prefill(ids, self.pruned, 0),
            "theirs": prefill(ids, self.theirs, 0),
        }
        words = f"prefill of {ids.shape[1]} tokens, all logits"
        return self._compared("forward", actions, words, words)

    def _compared(
        self, name: str, actions: dict[str, Action], ours: str, theirs: str
    ) -> dict[str, Any]:
        samples = measure(actions, self.num_pairs, partial(wait_for, self.device))
        found: Comparison = compare(
            f"{self.case.name}/{name}",
            (f"sentinel_research: {ours}", samples["ours"]),
            (f"{peer.version()}: {theirs}", samples["theirs"]),
        )
        return {"comparison": found.model_dump(mode="json")}

    def saving(self) -> dict[str, Any]:
        """Whether the other package's result can be read again."""
        pickled = io.BytesIO()
        torch.save(self.theirs, pickled)
        pickled.seek(0)
        again = torch.load(pickled, weights_only=False)
        peer.describe_in_config(self.theirs, self.plan)
        return {
            "reloads_pickled": self._equals(self._logits(again), self._logits(self.theirs)),
            "reloads": self._reloads(self.theirs, self.theirs.save_pretrained),
        }

    def _reloads(self, model: PreTrainedModel, write: Callable[[Path], object]) -> str:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            try:
                write(folder)
                read = AutoModelForCausalLM.from_pretrained(folder).eval()
                place(read, self.device)
                return self._equals(self._logits(read), self._logits(model))
            # foreign results fail in ways of their own, and the failure is the result
            except Exception as error:
                return f"no: {_first_line(error)}"

    @staticmethod
    def _equals(found: Tensor, expected: Tensor) -> str:
        difference = float((found - expected).abs().max())
        return "yes" if difference <= _SAME else f"no: logits differ by {difference:.3g}"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def _main(name: str, size: Size, device: str, num_pairs: int, out: TextIO) -> None:
    limit = SCALES[size].peer_limit_seconds

    def say(**words: Any) -> None:
        out.write(json.dumps(words) + "\n")
        out.flush()

    say(begin="start", limit_seconds=PATIENCE * limit)
    (case,) = (one for one in CASES if one.name == name)
    run = Run(case, size, device, num_pairs)
    say(end="start", data=run.begun())
    say(begin="ours", limit_seconds=PATIENCE * limit)
    say(end="ours", data=run.ours())
    foreign: list[tuple[Callable[[], dict[str, Any]], float]] = [
        (run.graph_and_removal, limit),
        (run.forward_pass, limit),
    ]
    if case.by_ratio is None:
        foreign += [(run.prune_times, PATIENCE * limit), (run.forward_times, PATIENCE * limit)]
        foreign.append((run.saving, limit))
    for step, seconds in foreign:
        say(begin=step.__name__, limit_seconds=seconds)
        try:
            say(end=step.__name__, data=step())
        except Exception as error:
            say(end=step.__name__, data={"error": _first_line(error)})
            return


if __name__ == "__main__":
    # whatever foreign code prints must not mix with the answers
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), answers)  # type: ignore[arg-type]
