"""Numbers that must not drift: published perplexities of real models, and the built-in language.

The perplexities are those measured by others than this package, with another loop over the same
text (shakespeare: windows of the model's context; TinyStories: the first window of each story).
"""

import math
from pathlib import Path

import pytest

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.mirror import VARIABLE
from sentinel_research.data.provenance import provenance_of
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.harness import evaluate
from sentinel_research.pruning import load
from sentinel_research.record import EvaluationReport
from sentinel_research.specs import EvalSpec, ModelSpec

pytestmark = pytest.mark.xdist_group("real_models")


@pytest.fixture(autouse=True)
def _mirror_in_use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "mirror" in request.fixturenames:
        monkeypatch.setenv(VARIABLE, str(request.getfixturevalue("mirror")))


def _shakespeare(folder: Path) -> EvaluationReport:
    model, tokenizer, _ = load(ModelSpec(pretrained=str(folder)))
    spec = EvalSpec(tasks=["sentinel_shakespeare"], prefix_token_id=0, batch_size=256)
    return evaluate(model, tokenizer, spec)


@pytest.mark.parametrize(
    ("name", "window", "published"),
    [("shakespeare-char-gpt2-8l", 32, 6.12), ("shakespeare-char-gpt2-4l", 48, 6.31)],
)
def test_character_model_has_its_published_perplexity_on_the_test_split(
    name: str, window: int, published: float, mirror: Path, real_models: Path
) -> None:
    report = _shakespeare(real_models / name)
    assert report.max_length == window
    assert report.num_documents == {"sentinel_shakespeare": 1}
    found = report.measurement("sentinel_shakespeare", "token_perplexity")
    # published with two decimals, from windows without the token of overlap that lm-eval's have
    assert found.value == pytest.approx(published, abs=0.015)
    assert found.stderr is not None
    assert 0.01 < found.stderr < 0.3


@pytest.mark.long
def test_first_windows_of_the_stories_have_the_published_perplexity(
    mirror: Path, real_models: Path
) -> None:
    from lm_eval.api.instance import Instance

    model, tokenizer, _ = load(ModelSpec(pretrained=str(real_models / "stories260K")))
    lm = SentinelLM(model, tokenizer=tokenizer, batch_size=16, add_bos_token=False, quiet=True)
    stories = load_corpus("tinystories", "test")["text"]
    assert len(stories) == 300
    scored = lm.loglikelihood_rolling(
        [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(stories)]
    )
    log_likelihood = sum(total.window_log_likelihoods[0] for total in scored)  # type: ignore[attr-defined]
    num_tokens = sum(total.window_num_tokens[0] for total in scored)  # type: ignore[attr-defined]
    assert math.exp(-log_likelihood / num_tokens) == pytest.approx(4.16, abs=0.01)
    # later windows start with little context: whole stories are a little harder
    whole = math.exp(-sum(scored) / sum(sum(total.window_num_tokens) for total in scored))  # type: ignore[attr-defined]
    assert whole == pytest.approx(4.236, abs=0.005)


def test_half_the_heads_cost_what_they_cost_when_first_measured(
    mirror: Path, real_models: Path
) -> None:
    from sentinel_research.pruning import prune
    from sentinel_research.specs import PruneSpec

    folder = real_models / "shakespeare-char-gpt2-8l"
    model, tokenizer, _ = load(ModelSpec(pretrained=str(folder)))
    pruned, report = prune(model, PruneSpec(scorer="magnitude_l2", fraction=0.5))
    assert report.num_removed == {"head": 32, "kv_head": 32}
    spec = EvalSpec(tasks=["sentinel_shakespeare"], prefix_token_id=0, batch_size=256)
    found = evaluate(pruned, tokenizer, spec)
    perplexity = found.measurement("sentinel_shakespeare", "token_perplexity").value
    assert perplexity == pytest.approx(7.448, abs=0.002)


def test_synthetic_language_is_the_same_text_with_the_same_floor() -> None:
    documents = load_corpus("synthetic", "test")
    assert provenance_of(documents).text_sha256.startswith("99704a68f2317aaa")
    floor = math.exp(documents["entropy"][0] / 127)
    assert floor == pytest.approx(4.544460241871, abs=1e-9)
