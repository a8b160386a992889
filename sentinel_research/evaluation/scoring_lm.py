"""lm-eval's HFLM, scoring continuations by `scoring` and not by its own loop."""

from collections.abc import Sequence
from typing import Any

from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from sentinel_research.evaluation.limits import check_lengths, counted_cuts
from sentinel_research.evaluation.long_answers import Request, split_answers
from sentinel_research.evaluation.scoring import Continuation, Score, readings, score_batch


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
        scores = self._scored(pieces.requests, disable_tqdm or self._quiet, override_bs)
        for (texts, _, _), score in zip(pieces.requests, scores, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, score)
        return pieces.join(scores)

    def _scored(
        self, requests: Sequence[Request], is_quiet: bool, batch_size: int | None
    ) -> list[Score]:
        """The scores of requests that fit the model."""
        asked = [self._cut(context, target) for _, context, target in requests]
        distinct = list(dict.fromkeys(asked))
        to_read = readings(distinct)
        head = self.model.get_output_embeddings()
        found: dict[int, Score] = {}
        with tqdm(total=len(requests), disable=is_quiet or self.rank != 0, desc="scoring") as bar:
            start = 0
            while start < len(to_read):
                size = batch_size or self._batch_size_at(start, requests)
                batch = to_read[start : start + size]
                scores = score_batch(self._model_call, head, batch, distinct, self.device)
                found.update(scores)
                start += size
                bar.update(len(scores))
        by_continuation = {distinct[place]: score for place, score in found.items()}
        return [by_continuation[one] for one in asked]

    def _cut(self, context: list[int], target: list[int]) -> Continuation:
        """A request without the beginning that the model has no room for."""
        whole = (context + target)[-(self.max_length + 1) :]
        return Continuation(tuple(whole[:-1]), tuple(target))

    def _batch_size_at(self, start: int, requests: Sequence[Request]) -> int:
        """lm-eval's own choice for `auto`, at the longest requests."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        if start == 0:
            self.batch_sizes: dict[int, int] = {}
            self._longest = sorted(requests, key=lambda one: -len(one[1] + one[2]))
        return int(self._batch_scheduler(start, self._longest))
