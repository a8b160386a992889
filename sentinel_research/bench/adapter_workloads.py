"""What the adapter and lm-eval's own `hf` are timed on: random models, random letters.

A letter is a token. Vocabularies have GPT-2's size, whose output head is most of a small model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from transformers import PreTrainedModel

from sentinel_research.bench.models import gpt2_of
from sentinel_research.bench.schema_base import Size
from sentinel_research.models.tiny import byte_tokenizer

BATCH_SIZE = 16
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Workload:
    """Requests of one kind to one model."""

    name: str
    """Unique: MODEL/KIND."""
    kind: str
    """In words."""
    num_documents: int
    """Questions, or texts."""
    bound: float | None
    """How many times as fast as stock the adapter has to be; null where times mean nothing."""
    header_length: int = 0
    """Tokens that all questions begin with."""
    is_rolling: bool = False
    """Whether whole texts are scored instead of four choices behind each question."""
    text_length: float = 0.0
    """Mean tokens of a text; lengths have a gamma distribution."""
    spread: float = 0.6
    """Standard deviation of the lengths by their mean."""
    max_length: int = 1024
    """Tokens that the model reads at once."""

    @property
    def width(self) -> str:
        """Which model."""
        return self.name.partition("/")[0]

    def model(self, device: str) -> PreTrainedModel:
        """A GPT-2 with random weights."""
        return gpt2_of(self.width, device)

    def options(self) -> dict[str, Any]:
        """What both adapters are made with."""
        return {
            "tokenizer": byte_tokenizer(),
            "batch_size": BATCH_SIZE,
            "max_length": self.max_length,
            "prefix_token_id": 10,
        }

    def requests(self) -> list[Instance]:
        """The same every time."""
        rng = np.random.default_rng(0)
        if self.is_rolling:
            shape = self.spread**-2
            lengths = rng.gamma(shape, self.text_length / shape, self.num_documents)
            texts = [(_letters(rng, max(2, int(length))),) for length in lengths]
            return _instances("loglikelihood_rolling", texts)
        header = _letters(rng, self.header_length)
        asked = []
        for _ in range(self.num_documents):
            question = header + _letters(rng, int(rng.integers(25, 61)))
            asked += [(question, _letters(rng, int(rng.integers(1, 7)))) for _ in range(4)]
        return _instances("loglikelihood", asked)


_CHOICES = "four choices behind each question, no examples"
_SHOTS = "four choices behind each question, five examples before it"
_ROLLING = "whole long texts"
_SENTENCES = "whole texts as long as sentences of Penn Treebank"
_PHRASES = "whole texts as long as phrases of SST-2's training split"
WORKLOADS: dict[Size, tuple[Workload, ...]] = {
    "tiny": (
        Workload("tiny/choices", _CHOICES, 3, None, max_length=200),
        Workload("tiny/few_shot", _SHOTS, 3, None, header_length=30, max_length=200),
        Workload("tiny/rolling", _ROLLING, 2, None, is_rolling=True, text_length=300.0),
        Workload("tiny/short", _PHRASES, 4, None, is_rolling=True, text_length=10.0),
    ),
    "124m": (
        Workload("3.4m/choices", _CHOICES, 500, 5.0),
        Workload("16m/choices", _CHOICES, 100, 4.0),
        Workload("16m/few_shot", _SHOTS, 10, 12.0, header_length=300),
        Workload("124m/choices", _CHOICES, 32, 2.5),
        Workload("124m/few_shot", _SHOTS, 8, 4.5, header_length=300),
        Workload("124m/rolling", _ROLLING, 3, 1.2, is_rolling=True, text_length=1200.0),
        # all tokens are scored: no way of reading them is three times as fast
        Workload(
            "124m/sentences", _SENTENCES, 64, 1.2, is_rolling=True, text_length=27.0, spread=0.45
        ),
        Workload(
            "124m/phrases", _PHRASES, 128, 3.0, is_rolling=True, text_length=12.2, spread=0.85
        ),
    ),
}


def _letters(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list(_LETTERS), length))


def _instances(kind: Any, arguments: Sequence[tuple[str, ...]]) -> list[Instance]:
    return [Instance(kind, {}, one, place) for place, one in enumerate(arguments)]
