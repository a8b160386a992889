"""How many prompts are answered at a time: as many as fit, and as pay."""

from typing import Any

import pytest
import torch

from sentinel_research.evaluation.scores import batch_size
from sentinel_research.models.tiny import tiny_model
from tests.contract.texts import adapter, distinct_requests, passes_of, stock


@pytest.mark.parametrize("family", ["llama", "mamba2"])
@pytest.mark.parametrize("after", [0, 3, 4, 9])
def test_lack_of_memory_halves_the_batch_and_changes_no_text(family: str, after: int) -> None:
    """At any moment: while prompts are read, or while some are being written."""
    model, requests = tiny_model(family), distinct_requests()
    expected = stock(model, requests)
    lm, sizes = adapter(model, 8), list[int]()

    def refuse(_: Any, args: Any, options: Any) -> None:
        sizes.append(len(args[0] if args else options["input_ids"]))
        if len(sizes) > after and sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert lm.generate_until(requests) == expected
    handle.remove()
    assert max(sizes) > 3
    assert sizes[-1] <= 3


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    model, requests = tiny_model("llama"), distinct_requests()
    lm = adapter(model, 8)

    def fail(_: Any, __: Any) -> None:
        raise RuntimeError("shapes do not agree")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        lm.generate_until(requests)


def test_single_prompt_that_does_not_fit_fails() -> None:
    model, requests = tiny_model("llama"), distinct_requests()
    lm = adapter(model, 2)

    def fail(_: Any, __: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        lm.generate_until(requests)


def test_automatic_batches_grow_while_writing_and_change_no_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_size, "_FIRST", 1)
    monkeypatch.setattr(batch_size, "_WORTH", 0.0)
    model, requests = tiny_model("llama"), distinct_requests()
    expected = stock(model, requests)
    lm = adapter(model, "auto")  # type: ignore[arg-type]
    texts: list[str] = []
    passes = passes_of(model, lambda: texts.extend(lm.generate_until(requests)))
    assert texts == expected
    rows = [rows for rows, _ in passes]
    assert rows[0] == 1
    assert max(rows) > 4
    assert lm.batch_sizes[0] > 4
