"""SuperGLUE's MultiRC: see `sentinel_research.metrics.questions`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics import questions


class MultiRC(evaluate.Metric):
    """F1a over all options and exact match of whole questions, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        place = {name: datasets.Value("int64") for name in ("paragraph", "question", "answer")}
        return evaluate.MetricInfo(
            description="F1a over all options and exact match of whole questions.",
            citation="Khashabi et al. (2018). https://doi.org/10.18653/v1/N18-1023",
            inputs_description="predictions: dicts of idx and prediction; references: labels.",
            features=datasets.Features(
                {
                    "predictions": {"idx": place, "prediction": datasets.Value("int64")},
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(
        self, predictions: list[dict[str, Any]], references: list[int], stderr: bool = False
    ) -> dict[str, Any]:
        items = [
            questions.Option(
                given["idx"]["paragraph"],
                given["idx"]["question"],
                bool(label),
                bool(given["prediction"]),
            )
            for given, label in zip(predictions, references, strict=True)
        ]
        found: dict[str, Any] = {
            "exact_match": questions.exact_questions(items),
            "f1_a": questions.f1_of_options(items),
        }
        if stderr:
            found["exact_match_stderr"] = questions.exact_questions_stderr(items)
            found["f1_a_stderr"] = questions.f1_of_options_stderr(items)
        return found
