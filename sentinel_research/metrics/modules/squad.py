"""SQuAD 1.1: see `sentinel_research.metrics.answers`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics import answers


class Squad(evaluate.Metric):
    """Exact match and F1 of SQuAD's evaluation script 1.1, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        right = {
            "text": datasets.List(text),
            "answer_start": datasets.List(datasets.Value("int32")),
        }
        return evaluate.MetricInfo(
            description="Exact match and F1 of SQuAD's evaluation script 1.1.",
            citation="Rajpurkar et al. (2016). https://arxiv.org/abs/1606.05250",
            inputs_description="dicts of id with prediction_text, and with answers.",
            features=datasets.Features(
                {
                    "predictions": {"id": text, "prediction_text": text},
                    "references": {"id": text, "answers": right},
                }
            ),
        )

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        stderr: bool = False,
    ) -> dict[str, Any]:
        # the texts are not given here: questions are taken as independent
        exact, f1 = answers.score_answers(
            (given["prediction_text"], right["answers"]["text"], given["id"])
            for given, right in zip(predictions, references, strict=True)
        )
        found: dict[str, Any] = {"exact_match": answers.percent(exact), "f1": answers.percent(f1)}
        if stderr:
            found["exact_match_stderr"] = answers.percent_stderr(exact)
            found["f1_stderr"] = answers.percent_stderr(f1)
        return found
