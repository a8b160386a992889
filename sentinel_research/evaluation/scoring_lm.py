"""lm-eval's HFLM, scoring continuations by `scoring` and not by its own loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm
from transformers import Cache

from sentinel_research.evaluation.answer_cache import KeptScores
from sentinel_research.evaluation.caches import empty_cache, given, goes_on
from sentinel_research.evaluation.limits import check_lengths, counted_cuts
from sentinel_research.evaluation.long_answers import Request, split_answers
from sentinel_research.evaluation.prefixes import Continuation, reading_trees
from sentinel_research.evaluation.scoring import Score, Scorer


class ScoringLM(HFLM):
    """HFLM with other ways to its own log-likelihoods; encoder-decoders take HFLM's."""

    _quiet = False

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        check_lengths(requests, self.max_length)
        pieces = split_answers(requests, self.max_length)
        if self.backend != "causal":
            with counted_cuts():
                scores = super()._loglikelihood_tokens(
                    pieces.requests, disable_tqdm or self._quiet, override_bs
                )
            return pieces.join(scores)
        return pieces.join(self._scored(pieces.requests, disable_tqdm or self._quiet, override_bs))

    def _scored(
        self, requests: Sequence[Request], is_quiet: bool, batch_size: int | None
    ) -> list[Score]:
        """The scores of requests that fit the model."""
        asked = [self._cut(context, target) for _, context, target in requests]
        kept = KeptScores(self.cache_hook.dbdict, requests, asked)
        scores = kept.known()
        missing = [one for one in dict.fromkeys(asked) if one not in scores]
        if missing:
            size = batch_size or self._batch_size(requests)
            scores |= self._computed(missing, size, is_quiet, kept)
        return [scores[one] for one in asked]

    def _computed(
        self, asked: Sequence[Continuation], batch_size: int, is_quiet: bool, kept: KeptScores
    ) -> dict[Continuation, Score]:
        """The scores of continuations that all differ; each is kept as soon as it is known."""
        trees = reading_trees(asked, shares=goes_on(self.model))
        head = self.model.get_output_embeddings()
        num_tokens = [len(one.target) for one in asked]
        with tqdm(
            total=sum(num_tokens), disable=is_quiet or self.rank != 0, desc="tokens scored"
        ) as bar:

            def tell(num_scored: int, done: Mapping[int, Score]) -> None:
                bar.update(num_scored)
                kept.keep({asked[place]: score for place, score in done.items()})

            scorer = Scorer(self._read, head, self.device, num_tokens, batch_size, tell)
            scorer.read(trees)
        return dict(zip(asked, scorer.scores(), strict=True))

    def _read(
        self, ids: torch.Tensor, cache: Cache | None, wants_cache: bool
    ) -> tuple[torch.Tensor, Cache | None]:
        """HFLM's own call, with a cache in front and behind."""
        if cache is None and not wants_cache:
            return self._model_call(ids), None
        past = empty_cache(self.model) if cache is None else cache
        precision = self.mixed_precision_dtype
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, precision, enabled=precision is not None),
        ):
            logits = self.model(ids, **given(self.model, past)).logits
        # it was changed in place
        return logits, past if wants_cache else None

    def _cut(self, context: list[int], target: list[int]) -> Continuation:
        """A request without the beginning that the model has no room for."""
        whole = (context + target)[-(self.max_length + 1) :]
        return Continuation(tuple(whole[:-1]), tuple(target))

    def _batch_size(self, requests: Sequence[Request]) -> int:
        """lm-eval's own choice for `auto`, at the longest request."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        longest = max(requests, key=lambda one: len(one[1] + one[2]))
        return int(self._detect_batch_size([longest], 0))
