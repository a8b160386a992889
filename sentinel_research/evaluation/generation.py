"""What a model writes behind held-out prompts: quality of the text, and speed of writing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.held_out_prompts import held_out_prompts
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.training_set import hash_blocks
from sentinel_research.evaluation.continuations import end_tokens, until_end, write_continuations
from sentinel_research.evaluation.generation_speed import GenerationSpeed, measure_speed
from sentinel_research.files import write_atomically
from sentinel_research.metrics.text_quality import Estimate, text_quality
from sentinel_research.specs import GenerationSpec

CONTINUATIONS_FILE = "continuations.jsonl"
_NUM_EXAMPLES = 3
_Written = Sequence[Sequence[Sequence[int]]]


def evaluate_generation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: GenerationSpec,
    *,
    batch_size: int,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Measure a model as a recipe's `evaluate.generation` says.

    Args:
        model: A causal LM on its device.
        tokenizer: Its tokenizer.
        spec: Prompts, noise and lengths.
        batch_size: Continuations written at a time.
        folder: Where all texts go (`continuations.jsonl`); None keeps the examples only.

    Returns:
        For the record, JSON types only: `quality` and `human` (of what the corpus goes on with)
        have the fields of `Estimate` by metric, `speed` those of `GenerationSpeed` unless nothing
        is timed; `examples`, `num_ended` of `num_continuations` by an end token, and `data` with
        the corpus' provenance and the hash of the prompts. A model that cannot write has `skipped`,
        the reason, instead.

    Raises:
        UsageError, DataError: see `data.held_out_prompts`.
        SentinelError: if the model's logits are NaN.
    """
    prompts, goes_on = held_out_prompts(spec, tokenizer)
    ends = end_tokens(tokenizer)
    human = [[until_end(ids, ends)] for ids in goes_on.tolist()]
    provenance = asdict(provenance_of(load_corpus(spec.corpus, spec.split)))
    found: dict[str, Any] = {
        "human": _quality(human, tokenizer),
        "data": {**provenance, "prompts_sha256": hash_blocks(prompts)},
    }
    if not model.can_generate():
        return {**found, "skipped": "the model cannot continue a text with a state of the past"}
    written = write_continuations(model, prompts, spec, ends, batch_size)
    rows = _rows(prompts.tolist(), human, written, tokenizer)
    if folder is not None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONTINUATIONS_FILE, "\n".join(lines) + "\n")
    lengths = [len(ids) for group in written for ids in group]
    return {
        **found,
        "quality": _quality(written, tokenizer),
        **({"speed": _speed(measure_speed(model, prompts[0], spec))} if spec.num_timings else {}),
        "num_continuations": len(lengths),
        "num_ended": sum(length < spec.max_new_tokens for length in lengths),
        "examples": [
            {name: row[name] for name in ("prompt", "human", "continuations")}
            for row in rows[:_NUM_EXAMPLES]
        ],
    }


def _quality(written: _Written, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    texts = [[_text(ids, tokenizer) for ids in group] for group in written]
    return {name: _as_json(one) for name, one in text_quality(written, texts).items()}


def _as_json(one: Estimate) -> dict[str, Any]:
    return {**one._asdict(), "values": list(one.values)}


def _speed(found: GenerationSpeed) -> dict[str, Any]:
    nested = ("first_token_seconds", "decode_seconds_per_token")
    return {**found._asdict(), **{name: getattr(found, name)._asdict() for name in nested}}


def _rows(
    prompts: Sequence[Sequence[int]],
    human: _Written,
    written: _Written,
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict[str, Any]]:
    """Every prompt with all that follows it, as text and as tokens."""
    return [
        {
            "prompt": _text(prompt, tokenizer),
            "human": _text(own[0], tokenizer),
            "continuations": [_text(ids, tokenizer) for ids in group],
            "prompt_tokens": prompt,
            "human_tokens": own[0],
            "continuation_tokens": group,
        }
        for prompt, own, group in zip(prompts, human, written, strict=True)
    ]


def _text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))
