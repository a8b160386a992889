"""Prompts of benchmark tasks that lm-eval lacks, or that it has in modules that do not import.

All others are lm-eval's own functions, named in the YAML.
"""

import math
from collections.abc import Mapping
from typing import Any

from sentinel_research.evaluation.benchmark_results import NO_ANSWER, record_entities


def squad_prompt(doc: Mapping[str, Any]) -> str:
    """That of lm-eval's squadv2; without a title where the row has none."""
    title = f"Title: {doc['title']}\n\n" if doc["title"] else ""
    return f"{title}Background: {doc['context']}\n\nQuestion: {doc['question']}\n\nAnswer:"


def squad_target(doc: Mapping[str, Any]) -> str:
    """The first right answer, or the word for none."""
    right = doc["answers"]["text"]
    return str(right[0]) if right else NO_ANSWER


def similarity_target(doc: Mapping[str, Any]) -> int:
    """The choice next to the similarity of 0 to 5 that people gave, the greater of two."""
    return math.floor(doc["label"] + 0.5)


def record_prompt(doc: Mapping[str, Any]) -> str:
    """That of lm-eval's record: the passage, and its summary as a list."""
    text, *highlights = doc["passage"].strip().split("\n@highlight\n")
    return text + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def record_choices(doc: Mapping[str, Any]) -> list[str]:
    """The query as one more item of that list, with each entity in it."""
    return [_item(doc["query"], entity) for entity in record_entities(doc)]


def record_target(doc: Mapping[str, Any]) -> str:
    """The first of the right choices."""
    return _item(doc["query"], min(doc["answers"]))


def _item(query: str, entity: str) -> str:
    return f"  - {query}".replace("@placeholder", entity)
