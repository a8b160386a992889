"""SuperGLUE's ReCoRD: see `sentinel_research.metrics.answers`."""

from typing import Any

import datasets
import evaluate

from sentinel_research.metrics import answers


class ReCoRD(evaluate.Metric):
    """Exact match and F1 against the best of the right entities, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        place = {name: datasets.Value("int64") for name in ("passage", "query")}
        texts = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Exact match and F1 against the best of the right entities.",
            citation="Zhang et al. (2018). https://arxiv.org/abs/1810.12885",
            inputs_description="dicts of idx with prediction_text, and with answers.",
            features=datasets.Features(
                {
                    "predictions": {"idx": place, "prediction_text": datasets.Value("string")},
                    "references": {"idx": place, "answers": texts},
                }
            ),
        )

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        stderr: bool = False,
    ) -> dict[str, Any]:
        exact, f1 = answers.score_answers(
            (given["prediction_text"], right["answers"], str(right["idx"]["passage"]))
            for given, right in zip(predictions, references, strict=True)
        )
        found: dict[str, Any] = {"exact_match": answers.mean(exact), "f1": answers.mean(f1)}
        if stderr:
            found["exact_match_stderr"] = answers.mean_stderr(exact)
            found["f1_stderr"] = answers.mean_stderr(f1)
        return found
