"""lm-eval's HFLM, scoring continuations by `scores.scorer` and not by its own loop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix

from sentinel_research import distributed
from sentinel_research.evaluation.answer_cache import KeptScores
from sentinel_research.evaluation.bars import Bars
from sentinel_research.evaluation.caches import goes_on
from sentinel_research.evaluation.limits import check_lengths, counted_cuts
from sentinel_research.evaluation.questions import Encodings
from sentinel_research.evaluation.scores.batch_size import BatchSize
from sentinel_research.evaluation.scores.division import divided
from sentinel_research.evaluation.scores.long_answers import Request, split_answers
from sentinel_research.evaluation.scores.paths import PathCaches
from sentinel_research.evaluation.scores.prefixes import Continuation, new_tokens, reading_trees
from sentinel_research.evaluation.scores.scorer import Limits, Score, Scorer

# what a pass costs beside its tokens: all weights are read once, and the layers are started. On a
# processor 32, 63 and 137 tokens were measured at 124, 16 and 3.4 M parameters, where this gives
# 21, 60 and 645 (padding is next to free there). A GPU's is assumed: a thousand times as much.
_WEIGHTS_IN_TOKENS = 20
_START_FLOPS, _START_FLOPS_OF_GPU = 2.5e8, 2.5e11


DEFAULT_KV_CACHE_MIB = 1024
"""Keys and values, or states, of shared beginnings that are kept at a time, in MiB."""


class ScoringLM(HFLM):
    """HFLM with other ways to its own log-likelihoods; encoder-decoders take HFLM's."""

    _bars = Bars()
    _has_parts_of_layers = False
    _kept_bytes: float = DEFAULT_KV_CACHE_MIB * 2**20
    _tokens: Mapping[str, list[int]] = MappingProxyType({})
    _encodings: Encodings
    """What other models with this tokenizer that are asked the same need not make again."""
    scoring: dict[str, Any] | None = None
    """How the last log-likelihoods were computed, for the record."""

    @property
    def shares_beginnings(self) -> bool:
        """Whether what several requests begin with is read once."""
        return goes_on(self.model) and self._kept_bytes > 0

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """HFLM's, with every text encoded once, all in one call."""
        kind = ("loglikelihood", *self._settings())
        asked = self._encodings.equal(kind, tuple(request.args for request in requests))
        encoded: list[Request] = self._encodings.once(kind, asked, lambda: self._pairs(requests))
        return self._loglikelihood_tokens(encoded, disable_tqdm=disable_tqdm)

    def _settings(self) -> tuple[Any, ...]:
        """What changes the tokens of a text, beside the tokenizer."""
        return self.add_bos_token, self.custom_prefix_token_id, self.backend

    def _pairs(self, requests: list[Instance]) -> list[Request]:
        """The tokens of every request, by HFLM's own rules."""
        self._tokens = self._encoded({one for request in requests for one in _texts(*request.args)})
        found: list[Request] = []

        def note(pairs: list[Request], **_: Any) -> list[Any]:
            found.extend(pairs)
            return []

        # whoever watches what is asked goes on doing so afterwards
        watched = self.__dict__.pop("_loglikelihood_tokens", None)
        self._loglikelihood_tokens = note  # type: ignore[assignment, method-assign]
        try:
            super().loglikelihood(requests, disable_tqdm=True)
        finally:
            del self._tokens, self._loglikelihood_tokens
            if watched is not None:
                self.__dict__["_loglikelihood_tokens"] = watched
        return found

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """HFLM's, which is asked only for what is not known yet."""
        if add_special_tokens is None and left_truncate_len is None and string in self._tokens:
            return list(self._tokens[string])
        found: list[int] = super().tok_encode(
            string, add_special_tokens, left_truncate_len, **kwargs
        )
        return found

    def _encoded(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Encode texts as `tok_encode` does one; those that begin with BOS are left to it."""
        start = self.tokenizer.decode(self.prefix_token_id)
        plain = [text for text in texts if not has_bos_prefix(text, start)]
        bos = self.add_bos_token
        special = {} if bos is None else {"add_special_tokens": bos}
        ids = self.tokenizer(plain, **special)["input_ids"] if plain else []
        return dict(zip(plain, ids, strict=True))

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        check_lengths(requests, self.max_length)
        size = self.max_length
        pieces = self._encodings.once(
            ("pieces", size), requests, lambda: split_answers(requests, size)
        )
        if self.backend != "causal":
            with counted_cuts():
                scores = super()._loglikelihood_tokens(
                    pieces.requests, disable_tqdm or self._bars.is_quiet, override_bs
                )
            return pieces.join(scores)
        bars = self._bars.hushed(disable_tqdm)
        return pieces.join(self._scored(pieces.requests, bars, override_bs))

    def _scored(
        self, requests: Sequence[Request], bars: Bars, batch_size: int | None
    ) -> list[Score]:
        """The scores of requests that fit the model."""
        asked = self._encodings.once(
            ("asked", self.max_length),
            requests,
            lambda: [self._cut(context, target) for _, context, target in requests],
        )
        # in this order neighbours have most in common
        distinct = self._encodings.once("distinct", asked, lambda: sorted(set(asked)))
        costs = self._encodings.once("costs", distinct, lambda: new_tokens(distinct))
        kept = KeptScores(self.cache_hook.dbdict, requests, asked)

        def answer(part: range) -> list[Any]:
            mine = self._encodings.once(part, distinct, lambda: [distinct[one] for one in part])
            own = self._own_scores(mine, bars, batch_size, kept)
            # as text, which keeps all digits and what is no number
            return [[value.hex(), greedy] for value, greedy in own]

        told = self._divided(costs, distinct, answer)
        scores = [(float.fromhex(value), greedy) for value, greedy in told]
        found = dict(zip(distinct, scores, strict=True))
        return [found[one] for one in asked]

    def _divided(
        self, costs: Sequence[float], asked: Sequence[Any], answer: Callable[[range], list[Any]]
    ) -> list[Any]:
        """Answers of all processes; where each has a part of every layer, all answer everything."""
        if self._has_parts_of_layers:
            return answer(range(len(costs)))
        return divided(costs, asked, answer)

    def _own_scores(
        self,
        asked: list[Continuation],
        bars: Bars,
        batch_size: int | None,
        kept: KeptScores,
    ) -> list[Score]:
        """The scores that this process computes, or has kept; each is kept once it is known."""
        known = kept.known()
        missing = [one for one in asked if one not in known] if known else asked
        caches = PathCaches(self.model) if self.shares_beginnings else None
        shares = caches is not None
        trees = self._encodings.once(
            ("trees", shares), missing, lambda: reading_trees(missing, shares=shares)
        )
        size = BatchSize(batch_size, batch_size) if batch_size else BatchSize.of(self)
        limits = Limits(size, self._pass_tokens(), self._kept_bytes)
        head = self.model.get_output_embeddings()
        num_tokens = [len(one.target) for one in missing]
        with bars.counted("tokens scored", sum(num_tokens)) as count:

            def tell(num_scored: int, done: Mapping[int, Score]) -> None:
                count(num_scored)
                kept.keep({missing[place]: score for place, score in done.items()})

            scorer = Scorer(self._read, caches, head, self.device, num_tokens, limits, tell)
            scorer.read(trees)
        # lm-eval puts it into the results
        self.batch_sizes[0] = size.value
        self.scoring = {
            "reads_shared_beginnings_once": caches is not None,
            "batch_size": size.value,
            "num_processes": distributed.num_processes(),
        }
        known |= zip(missing, scorer.scores(), strict=True)
        return [known[one] for one in asked]

    def _read(self, ids: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """HFLM's own call, with other arguments."""
        precision = self.mixed_precision_dtype
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, precision, enabled=precision is not None),
        ):
            logits: torch.Tensor = self.model(ids, **options).logits
        return logits

    def _pass_tokens(self) -> float:
        num_used = max(1, self.model.num_parameters(exclude_embeddings=True))
        started = _START_FLOPS if self.device.type == "cpu" else _START_FLOPS_OF_GPU
        return _WEIGHTS_IN_TOKENS + started / (2 * num_used)

    def _cut(self, context: list[int], target: list[int]) -> Continuation:
        """A request without the beginning that the model has no room for."""
        whole = (context + target)[-(self.max_length + 1) :]
        return Continuation(tuple(whole[:-1]), tuple(target))


def _texts(context: str, continuation: str) -> tuple[str, ...]:
    """What lm-eval encodes of a request, but for a continuation of nothing."""
    return (context + continuation, context.rstrip()) if context else ()
