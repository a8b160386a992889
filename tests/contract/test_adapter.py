"""Laws of the lm-eval adapter: stock lm-eval's numbers, and its known errors refused."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from sentinel_research.errors import CheckpointError, DataError, UsageError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.perplexity import RollingLogLikelihood
from sentinel_research.models import save
from sentinel_research.models.tiny import VOCAB_SIZE, byte_tokenizer, tiny_model

TEXTS = ["", "a", "abc " * 40, "The quick brown fox.", "x" * 64, "y" * 65]
FAMILIES = ("gpt2", "llama")


def _rolling(texts: list[str]) -> list[Instance]:
    return [
        Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)
    ]


def _pairs(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save(tiny_model(request.param), byte_tokenizer(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def adapter(folder: Path) -> Callable[..., SentinelLM]:
    def build(**options: object) -> SentinelLM:
        return SentinelLM(str(folder), device="cpu", **options)

    return build


def test_rolling_log_likelihoods_equal_stock_lm_eval(
    adapter: Callable[..., SentinelLM], folder: Path
) -> None:
    stock = HFLM(str(folder), device="cpu", logits_cache=False)
    expected = stock.loglikelihood_rolling(_rolling(TEXTS), disable_tqdm=True)
    found = adapter(batch_size=3).loglikelihood_rolling(_rolling(TEXTS), disable_tqdm=True)
    # float32 sums over windows of other batches
    assert found == pytest.approx(expected, abs=1e-3, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batch_size_does_not_change_a_log_likelihood(
    adapter: Callable[..., SentinelLM], batch_size: int
) -> None:
    one = adapter(batch_size=1).loglikelihood_rolling(_rolling(TEXTS), disable_tqdm=True)
    many = adapter(batch_size=batch_size).loglikelihood_rolling(_rolling(TEXTS), disable_tqdm=True)
    assert many == pytest.approx(one, abs=1e-3, rel=1e-6)


def test_windows_sum_to_the_text_and_count_its_tokens(adapter: Callable[..., SentinelLM]) -> None:
    lm = adapter(batch_size=4, max_length=16)
    for text, total in zip(TEXTS, lm.loglikelihood_rolling(_rolling(TEXTS), True), strict=True):
        assert isinstance(total, RollingLogLikelihood)
        assert sum(total.window_num_tokens) == len(text.encode())
        assert len(total.window_num_tokens) == -(-len(text) // 16)
        assert float(total) == pytest.approx(sum(total.window_log_likelihoods))
        assert pickle.loads(pickle.dumps(total)) == total


def test_continuation_that_is_a_prefix_of_another_is_scored_at_its_own_positions(
    adapter: Callable[..., SentinelLM],
) -> None:
    # lm-eval's logits cache reads the first rows of the longer continuation here
    lm = adapter(batch_size=2)
    together = lm.loglikelihood(_pairs([("ab", "cde"), ("abcd", "e")]), disable_tqdm=True)
    alone = [
        lm.loglikelihood(_pairs([pair]), disable_tqdm=True)[0]
        for pair in [("ab", "cde"), ("abcd", "e")]
    ]
    for one, other in zip(together, alone, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4)


def test_later_token_does_not_change_an_earlier_one(adapter: Callable[..., SentinelLM]) -> None:
    lm = adapter()
    first = lm._model_call(torch.tensor([[1, 2, 3, 4]]))
    second = lm._model_call(torch.tensor([[1, 2, 3, 9]]))
    assert torch.equal(first[:, :3], second[:, :3])


def test_logits_cache_of_lm_eval_is_refused(adapter: Callable[..., SentinelLM]) -> None:
    with pytest.raises(UsageError, match="logits_cache"):
        adapter(logits_cache=True)


def test_pruning_while_loading_equals_pruning_before_saving(
    adapter: Callable[..., SentinelLM], folder: Path, tmp_path: Path
) -> None:
    from sentinel_research.pruning import load, prune
    from sentinel_research.specs import ModelSpec, PruneSpec

    loaded = load(ModelSpec(pretrained=str(folder)))
    pruned, _ = prune(loaded.model, PruneSpec(scorer="magnitude_l2", fraction=0.5))
    save(pruned, loaded.tokenizer, tmp_path / "pruned")
    on_the_way = adapter(prune="magnitude_l2", prune_fraction=0.5)
    stored = SentinelLM(str(tmp_path / "pruned"), device="cpu")
    requests = _rolling(TEXTS)
    # float32, in batches of other sizes
    assert on_the_way.loglikelihood_rolling(requests, True) == pytest.approx(
        stored.loglikelihood_rolling(requests, True), rel=1e-6
    )
    info = on_the_way.get_model_info()
    assert info["sentinel_prune"]["plan"]["scorer"] == "magnitude_l2"
    assert info["model_num_parameters"] == stored.get_model_info()["model_num_parameters"]


def test_removed_heads_change_the_numbers(adapter: Callable[..., SentinelLM]) -> None:
    dense = adapter().loglikelihood_rolling(_rolling(TEXTS[2:3]), True)
    pruned = adapter(prune="magnitude_l2", prune_fraction=0.5)
    assert abs(pruned.loglikelihood_rolling(_rolling(TEXTS[2:3]), True)[0] - dense[0]) > 1e-2


def test_unknown_model_argument_is_refused(adapter: Callable[..., SentinelLM]) -> None:
    with pytest.raises(UsageError, match="prune_fracton") as caught:
        adapter(prune_fracton=0.5)
    assert "prune_fraction" in caught.value.hint


def test_scorer_that_reads_text_is_refused_without_calibration(
    adapter: Callable[..., SentinelLM],
) -> None:
    with pytest.raises(UsageError, match="calibration"):
        adapter(prune="gate_gradient", prune_fraction=0.5)


def test_calibration_has_the_start_tokens_of_the_evaluation(
    adapter: Callable[..., SentinelLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel_research.data import calibration
    from sentinel_research.data.calibration_set import CalibrationSet

    seen: dict[str, object] = {}

    def made(spec: object, tokenizer: object, **options: object) -> CalibrationSet:
        seen.update(options)
        return CalibrationSet.of(torch.arange(40).reshape(4, 10))

    monkeypatch.setattr(calibration, "calibration_set", made)
    options = {"prune": "gate_gradient", "prune_fraction": 0.5, "calibration": "synthetic"}
    adapter(**options, add_bos_token=True, prefix_token_id=5)
    assert seen == {"add_bos_token": True, "prefix_token_id": 5}


def test_pruning_options_are_refused_with_a_loaded_model() -> None:
    with pytest.raises(UsageError, match="already loaded"):
        SentinelLM(
            tiny_model("gpt2"), tokenizer=byte_tokenizer(), prune="magnitude_l2", prune_fraction=0.5
        )


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        SentinelLM(str(tmp_path / "nowhere"), device="cpu")


@pytest.mark.parametrize("options", [{}, {"tokenizer": "mine"}], ids=["own", "named tokenizer"])
def test_model_below_sentinel_models_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    folder = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "mine")
    monkeypatch.setenv("SENTINEL_MODELS", str(tmp_path))
    by_name = SentinelLM("mine", device="cpu", **options)
    by_path = SentinelLM(str(folder), device="cpu")
    requests = _rolling(TEXTS)
    assert by_name.loglikelihood_rolling(requests, True) == by_path.loglikelihood_rolling(
        requests, True
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 65}, "max_length = 65 is longer than the model's context of 64 tokens"),
        ({"prefix_token_id": VOCAB_SIZE}, "is not in the model's vocabulary"),
        ({"prefix_token_id": -1}, "prefix_token_id = -1 is not in the model's vocabulary"),
    ],
)
def test_window_or_token_that_the_model_lacks_is_refused(
    adapter: Callable[..., SentinelLM], options: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        adapter(**options)
    with pytest.raises(UsageError, match=message):
        SentinelLM(tiny_model("gpt2"), tokenizer=byte_tokenizer(), **options)


def _dropping_tokenizer() -> object:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    letters = {letter: index for index, letter in enumerate("abc")}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(letters, [])))


def test_text_that_the_tokenizer_drops_is_refused_unless_accepted() -> None:
    model = tiny_model("gpt2")
    options = {"tokenizer": _dropping_tokenizer(), "prefix_token_id": 0}
    with pytest.raises(DataError, match=r"3 of its characters are dropped \('!', '\?'\)"):
        SentinelLM(model, **options).loglikelihood_rolling(_rolling(["ab!c!?"]), True)
    lossy = SentinelLM(model, allow_lossy_tokenizer=True, **options)
    (total,) = lossy.loglikelihood_rolling(_rolling(["ab!c!?"]), True)
    assert sum(total.window_num_tokens) == 3  # type: ignore[attr-defined]


def test_unknown_tokens_are_refused() -> None:
    tokenizer = byte_tokenizer()
    from sentinel_research.data.synthetic import word_tokenizer

    words = word_tokenizer(["ab", "cd"])
    lm = SentinelLM(tiny_model("gpt2"), tokenizer=words)
    with pytest.raises(DataError, match="1 of its tokens become <unk>"):
        lm.loglikelihood_rolling(_rolling(["ab cd ef"]), True)
    assert tokenizer.unk_token_id is None


def test_tokenizer_without_start_token_needs_a_prefix() -> None:
    lm = SentinelLM(tiny_model("gpt2"), tokenizer=_dropping_tokenizer())
    with pytest.raises(UsageError, match="prefix_token_id"):
        lm.loglikelihood_rolling(_rolling(["ab"]), True)
