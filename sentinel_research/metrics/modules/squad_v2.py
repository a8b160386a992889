"""SQuAD 2.0: see `sentinel_research.metrics.answers`."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from sentinel_research.metrics import answers


class SquadV2(evaluate.Metric):
    """All figures of SQuAD's evaluation script 2.0, scores in percent."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        right = {
            "text": datasets.List(text),
            "answer_start": datasets.List(datasets.Value("int32")),
        }
        given = {
            "id": text,
            "prediction_text": text,
            "no_answer_probability": datasets.Value("float64"),
        }
        return evaluate.MetricInfo(
            description="All figures of SQuAD's evaluation script 2.0.",
            citation="Rajpurkar, Jia, Liang (2018). https://arxiv.org/abs/1806.03822",
            inputs_description="dicts of id with prediction_text and no_answer_probability, and "
            "with answers.",
            features=datasets.Features(
                {"predictions": given, "references": {"id": text, "answers": right}}
            ),
        )

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        no_answer_threshold: float = 1.0,
        stderr: bool = False,
    ) -> dict[str, Any]:
        items: dict[str, list[answers.Answerable]] = {"exact": [], "f1": []}
        for given, right in zip(predictions, references, strict=True):
            text = given["prediction_text"]
            score = answers.score_answer_or_none(text, right["answers"]["text"])
            for name, value in score._asdict().items():
                items[name].append(
                    answers.Answerable(
                        value,
                        bool(right["answers"]["text"]),
                        bool(text),
                        given["no_answer_probability"],
                        given["id"],
                    )
                )
        found: dict[str, Any] = {}
        for name, of_metric in items.items():
            found.update(_means(name, of_metric, no_answer_threshold, stderr))
            best = answers.best_threshold(of_metric)
            found[f"best_{name}"] = 100 * best.score
            found[f"best_{name}_thresh"] = best.probability
            if stderr:
                found[f"best_{name}_stderr"] = answers.best_percent_stderr(of_metric)
        return {**found, "total": len(predictions)}


def _means(
    name: str, items: Sequence[answers.Answerable], threshold: float, stderr: bool
) -> dict[str, Any]:
    """The mean over all questions, over those with an answer and over those without."""
    decided = [
        answers.Clustered(
            item.score if item.no_answer_probability <= threshold else float(not item.has_answer),
            item.cluster,
        )
        for item in items
    ]
    parts = {name: [True] * len(items)}
    parts[f"HasAns_{name}"] = [item.has_answer for item in items]
    parts[f"NoAns_{name}"] = [not item.has_answer for item in items]
    found: dict[str, Any] = {}
    for part, mask in parts.items():
        chosen = [item for item, is_in in zip(decided, mask, strict=True) if is_in]
        if chosen:
            found[part] = answers.percent(chosen)
            if stderr:
                found[f"{part}_stderr"] = answers.percent_stderr(chosen)
    return found
