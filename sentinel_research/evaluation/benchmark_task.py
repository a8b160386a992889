"""The class of the project's benchmark tasks: lm-eval's own, with three differences.

The training split is read only when examples or training ask for it; lm-eval copies it into a list
whenever it builds a task. The examples before a document depend on the seed and the document alone,
not on how many documents a process was given before; lm-eval draws them from one stream a process.
And a document that cannot be scored as it should is an error before anything is computed.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask

from sentinel_research.errors import DataError, UsageError

_LM_EVAL_SEED = 1234


class BenchmarkTask(ConfigurableTask):
    """A task of GLUE, SuperGLUE, SQuAD or MMLU, configured by its YAML.

    Args:
        config: The YAML. Its metadata may hold `texts`, columns that must not be empty, and
            `no_answer`, a continuation whose log-likelihood is asked for beside what is generated.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._is_built = False
        self._fewshot_seed: int | None = _LM_EVAL_SEED
        super().__init__(config={key: value for key, value in config.items() if key != "class"})
        self._is_built = True

    def fewshot_docs(self) -> Any:
        """The documents that examples are taken from; none while the task is built."""
        return super().fewshot_docs() if self._is_built else None

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """Choose the examples anew."""
        super().set_fewshot_seed(seed)
        self._fewshot_seed = seed

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, **options: Any) -> Any:
        """lm-eval's prompt, with the examples of `examples`."""
        if num_fewshot > 0:
            self.sampler = _Given(self.examples(doc, num_fewshot))
        return super().fewshot_context(doc, num_fewshot=num_fewshot, **options)

    def examples(self, doc: dict[str, Any], num_fewshot: int) -> list[dict[str, Any]]:
        """The examples that a document's prompt shows.

        Args:
            doc: The evaluated document.
            num_fewshot: How many.

        Returns:
            The first of the split with `sampler: first_n`, as in lm-eval; otherwise drawn by the
            seed and the document, never the document itself.

        Raises:
            UsageError: if there are not as many.
        """
        pool = self.fewshot_docs()
        if self.config.fewshot_config.sampler == "first_n":
            found = [pool[index] for index in range(min(num_fewshot, len(pool)))]
        else:
            key = json.dumps(doc, sort_keys=True, default=str)
            digest = hashlib.sha256(f"{self._fewshot_seed} {key}".encode()).digest()
            # one more, should the document be among them
            count = min(num_fewshot + 1, len(pool))
            drawn = random.Random(digest).sample(range(len(pool)), count)  # noqa: S311
            found = [pool[index] for index in drawn if pool[index] != doc][:num_fewshot]
        if len(found) < num_fewshot:
            raise UsageError(
                f"num_fewshot = {num_fewshot}: the task '{self.config.task}' has only {len(found)} "
                "examples for a document",
                "ask for fewer examples, or fetch the whole training split",
            )
        return found

    def construct_requests(
        self, doc: dict[str, Any], ctx: Any, **kwargs: Any
    ) -> list[Instance] | Instance:
        """lm-eval's requests for a document that can be scored.

        Raises:
            DataError: for an empty text or choice, or a right answer that is not a choice.
        """
        self._check(doc)
        found = super().construct_requests(doc, ctx, **kwargs)
        no_answer = (self.config.metadata or {}).get("no_answer")
        if no_answer is None:
            return found
        assert isinstance(found, Instance)  # generated text is one request
        options = {key: kwargs[key] for key in ("metadata", "repeats") if key in kwargs}
        asked = f"{self.config.target_delimiter}{no_answer}"
        beside = Instance("loglikelihood", doc=doc, arguments=(ctx, asked), idx=0, **options)
        return [found, beside]

    def _check(self, doc: dict[str, Any]) -> None:
        for column in (self.config.metadata or {}).get("texts", ()):
            if not (doc[column] or "").strip():
                raise self._unfit(doc, f"an empty '{column}'")
        if self.OUTPUT_TYPE != "multiple_choice":
            return
        choices = self.doc_to_choice(doc)
        for number, choice in enumerate(choices):
            if not choice.strip():
                raise self._unfit(doc, f"an empty choice (number {number})")
        right = self.doc_to_target(doc)
        is_choice = right in choices if isinstance(right, str) else 0 <= right < len(choices)
        if not is_choice:
            raise self._unfit(
                doc, f"the label {right!r}, which is none of its {len(choices)} choices"
            )

    def _unfit(self, doc: dict[str, Any], fault: str) -> DataError:
        return DataError(
            f"a document of '{self.config.task}' has {fault}: {str(doc)[:200]}",
            "Its file is damaged, or its labels are hidden: fetch "
            f"{self.config.dataset_kwargs['repository']} again.",
        )


class _Given(ContextSampler):
    """Examples that were chosen beforehand."""

    def sample(self, n: int, **_ignored: Any) -> Sequence[dict[str, Any]]:
        return list(self.df)[:n]
