"""The metrics as modules of `evaluate`: loaded without a network, with the hub's keys."""

import datasets
import evaluate
import pytest
from scipy import stats

from sentinel_research import metrics
from sentinel_research.errors import UsageError

CLASSES = {"predictions": [1, 0, 1, 1], "references": [1, 0, 0, 1]}
NUMBERS = {"predictions": [0.1, 2.0, 1.0, 4.0], "references": [0.0, 1.0, 2.0, 5.0]}


def _asked(name: str) -> dict:
    """Three questions on one text: right, half right, and wrong."""
    texts = ["Duchy", "the Duchy of Normandy", "France"]
    right = ["the duchy", "Normandy", "England"]
    if name == "record":
        places = [{"passage": 0, "query": number} for number in range(3)]
        pairs = zip(places, texts, right, strict=True)
        rows = [({"prediction_text": t}, {"answers": [r]}, p) for p, t, r in pairs]
        return {
            "predictions": [{"idx": place, **given} for given, _, place in rows],
            "references": [{"idx": place, **gold} for _, gold, place in rows],
        }
    extra = {"no_answer_probability": 0.25} if name == "squad_v2" else {}
    return {
        "predictions": [
            {"id": str(number), "prediction_text": text, **extra}
            for number, text in enumerate(texts)
        ],
        "references": [
            {"id": str(number), "answers": {"text": [text], "answer_start": [0]}}
            for number, text in enumerate(right)
        ],
    }


OPTIONS = {
    "predictions": [
        {"idx": {"paragraph": 0, "question": q, "answer": a}, "prediction": p}
        for q, a, p in ((0, 0, 1), (0, 1, 0), (1, 0, 1))
    ],
    "references": [1, 0, 0],
}
EXPECTED = {
    "accuracy": (CLASSES, {"accuracy": 0.75}),
    "f1": (CLASSES, {"f1": 0.8}),
    "matthews_correlation": (CLASSES, {"matthews_correlation": 1 / 3**0.5}),
    "pearsonr": (NUMBERS, {"pearsonr": stats.pearsonr(*NUMBERS.values()).statistic}),
    "spearmanr": (NUMBERS, {"spearmanr": stats.spearmanr(*NUMBERS.values()).statistic}),
    "multirc": (OPTIONS, {"exact_match": 0.5, "f1_a": 2 / 3}),
    "record": (_asked("record"), {"exact_match": 1 / 3, "f1": 0.5}),
    "squad": (_asked("squad"), {"exact_match": 100 / 3, "f1": 50.0}),
    "squad_v2": (
        _asked("squad_v2"),
        {
            "exact": 100 / 3,
            "f1": 50.0,
            "HasAns_exact": 100 / 3,
            "HasAns_f1": 50.0,
            "best_exact": 100 / 3,
            "best_exact_thresh": 0.25,
            "best_f1": 50.0,
            "best_f1_thresh": 0.25,
            "total": 3,
        },
    ),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))


def test_every_metric_has_an_example() -> None:
    assert set(EXPECTED) == set(metrics.metric_names())


@pytest.mark.parametrize("name", EXPECTED)
def test_module_computes_what_the_hubs_module_of_its_name_does(name: str) -> None:
    inputs, expected = EXPECTED[name]
    assert metrics.load_metric(name).compute(**inputs) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_figure_can_have_its_standard_error(name: str) -> None:
    inputs, expected = EXPECTED[name]
    found = metrics.load_metric(name).compute(**inputs, stderr=True)
    figures = {key for key in expected if not key.endswith("_thresh") and key != "total"}
    assert set(found) == {*expected, *(f"{key}_stderr" for key in figures)}


def test_module_adds_up_batches() -> None:
    module = metrics.load_metric("accuracy")
    for batch in ([1, 0], [1, 1]):
        module.add_batch(predictions=batch, references=[1, 0])
    assert module.compute() == {"accuracy": 0.75}


def test_path_of_a_metric_is_what_evaluate_loads() -> None:
    module = evaluate.load(str(metrics.metric_path("f1")), keep_in_memory=True)
    assert module.compute(**CLASSES, average="macro", num_classes=2) == {
        "f1": pytest.approx((0.8 + 2 / 3) / 2)
    }
    with pytest.raises(UsageError, match="average='weighted' of 2 classes"):
        module.compute(**CLASSES, average="weighted")


def test_unknown_metric_gets_the_known_ones_named() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'acuracy'.*\n.*accuracy"):
        metrics.load_metric("acuracy")


def test_threshold_leaves_uncertain_questions_without_an_answer() -> None:
    inputs = _asked("squad_v2")
    inputs["references"][2]["answers"] = {"text": [], "answer_start": []}
    inputs["predictions"][2]["no_answer_probability"] = 0.9
    found = metrics.load_metric("squad_v2").compute(**inputs, no_answer_threshold=0.5)
    assert found["NoAns_exact"] == found["NoAns_f1"] == 100.0
    assert found["HasAns_exact"] == 50.0
    assert found["exact"] == pytest.approx(200 / 3)


def test_features_of_the_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match="don't match the expected format"):
        metrics.load_metric("squad").compute(predictions=["Duchy"], references=["Duchy"])
    assert isinstance(metrics.load_metric("squad").features, datasets.Features)
