"""SentinelLM: the lm-eval model behind `lm_eval --model sentinel`.

lm-eval's own HFLM, with three differences: a checkpoint is checked before it is loaded and may be
pruned on the way (`prune=...`), rolling log-likelihoods carry their windows so that perplexities
get token counts and standard errors, and the paths of lm-eval that are known to return wrong
numbers are mended or refused (research on lm-eval 0.4.13: `logits_cache` reads the wrong positions
when one continuation is a prefix of another; `--use_cache` is not keyed by the model, and
`--cache_requests` not by the data).
"""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from transformers import PreTrainedModel

from sentinel_research import distributed
from sentinel_research.errors import DataError, UsageError, did_you_mean
from sentinel_research.evaluation.answer_cache import answers_fingerprint, open_table
from sentinel_research.evaluation.arguments import (
    HFLM_LOADING,
    PRECISION_ARGUMENTS,
    PRUNING_ARGUMENTS,
    check_precision_arguments,
    kept_bytes,
    placing_from_args,
    prune_spec_from_args,
)
from sentinel_research.evaluation.bars import Bars
from sentinel_research.evaluation.coverage import Coverage
from sentinel_research.evaluation.limits import check_limits, counted_cuts
from sentinel_research.evaluation.perplexity import RollingLogLikelihood
from sentinel_research.evaluation.questions import Encodings
from sentinel_research.evaluation.request_cache import refuse_request_cache
from sentinel_research.evaluation.scores.long_answers import Request
from sentinel_research.evaluation.scoring_lm import DEFAULT_KV_CACHE_MIB, ScoringLM
from sentinel_research.evaluation.writing.answers import answer
from sentinel_research.specs import ModelSpec, PruneSpec

_HFLM_PLACING = (
    "revision",
    "subfolder",
    "gpus",
    "max_memory_per_gpu",
    "max_cpu_memory",
    "offload_folder",
)


class SentinelLM(ScoringLM):
    """lm-eval's HFLM for dense, pruned and to-be-pruned causal language models.

    Args:
        pretrained: Folder, hub id, or a loaded model of transformers (then pass `tokenizer` too).
        prune: Scorer; the model is pruned after loading, as `prune_fraction` and the other
            arguments of `evaluation.arguments` say. `allow_lossy_tokenizer=True` scores texts that
            the tokenizer cannot represent whole, `quiet=True` shows no progress bars, `progress`
            is told instead of showing them,
            `kv_cache_mib=N` bounds what is kept of beginnings that requests share (0: none),
            `encodings` are those of another model that is asked the same;
            `bits=16|8|4` holds the projections in so many bits, after the pruning, and 32 takes
            float32; `activations=float` rounds nothing else, see docs/precision.md;
            `device_map=auto` spreads the layers over all GPUs, the memory and the disk, within
            `max_memory_per_gpu=70GiB` and `max_cpu_memory=400GiB`, see docs/scale.md.
        **kwargs: Everything else goes to HFLM.

    Raises:
        UsageError: for arguments that are not accepted.
        CheckpointError: for a folder that cannot be loaded whole.
    """

    def __init__(self, pretrained: str | PreTrainedModel | None = None, **kwargs: Any) -> None:
        if pretrained is None:
            raise UsageError(
                "--model sentinel needs to know which model",
                "add --model_args pretrained=FOLDER (or a name below SENTINEL_MODELS, or a hub id)",
            )
        if kwargs.pop("logits_cache", False):
            raise UsageError(
                "logits_cache=True returns wrong log-likelihoods when one continuation is a prefix "
                "of another",
                "leave logits_cache out",
            )
        self._bits = {name: kwargs.pop(name) for name in PRECISION_ARGUMENTS if name in kwargs}
        check_precision_arguments(self._bits, kwargs, pretrained)
        self._precision: dict[str, Any] | None = None
        self._prune_spec = prune_spec_from_args(kwargs)
        if self._prune_spec is not None and not isinstance(pretrained, str):
            raise UsageError(
                "prune options were given with a model that is already loaded",
                "prune it first with sentinel_research.prune, or give its folder",
            )
        whole = {"prune": self._prune_spec, **self._bits}
        self._placing = placing_from_args(kwargs, whole)
        if self._placing:
            # else HFLM moves the model to one device once it is loaded
            kwargs["parallelize"] = True
        # HFLM knows them only after the model was created
        self._encoding = {name: kwargs.get(name) for name in ("add_bos_token", "prefix_token_id")}
        self._limits = kwargs.get("max_length"), kwargs.get("prefix_token_id")
        if not isinstance(pretrained, str):
            check_limits(pretrained.config, *self._limits)
        self._prune_report: dict[str, Any] | None = None
        self._calibrated_on: frozenset[str] = frozenset()
        self._allow_lossy_tokenizer = bool(kwargs.pop("allow_lossy_tokenizer", False))
        self._bars = Bars(bool(kwargs.pop("quiet", False)), kwargs.pop("progress", None))
        self._kept_bytes = kept_bytes(kwargs.pop("kv_cache_mib", DEFAULT_KV_CACHE_MIB))
        self._encodings = kwargs.pop("encodings", None) or Encodings()
        self._ways = Counter[str]()
        self.answers_of: str | None = None
        refuse_request_cache()
        super().__init__(pretrained, logits_cache=False, **kwargs)
        # every process has all documents, and `scores.division` says what it computes
        self._has_parts_of_layers = bool(kwargs.get("tp_plan"))
        self._rank, self._world_size = 0, 1

    def _get_config(self, pretrained: str, *, revision: str = "main", **kwargs: Any) -> None:
        from sentinel_research.models import check_checkpoint

        # damage is found before anything is read, and with a clear message
        self._folder = str(check_checkpoint(pretrained, revision)[0].parent)
        super()._get_config(self._folder, revision=revision, **kwargs)
        check_limits(self.config, *self._limits)

    def _create_tokenizer(
        self, pretrained: Any, tokenizer: Any, revision: str | None = "main", **kwargs: Any
    ) -> None:
        from sentinel_research.models import find_folder

        # a name below SENTINEL_MODELS means nothing to transformers
        if isinstance(pretrained, str):
            pretrained = self._folder
        if isinstance(tokenizer, str):
            tokenizer = str(find_folder(tokenizer))
        super()._create_tokenizer(pretrained, tokenizer, revision=revision, **kwargs)
        self._coverage = Coverage(self.tokenizer)

    def _create_model(self, **kwargs: Any) -> None:
        from sentinel_research.models import use_scan
        from sentinel_research.models.quantizer import is_stored

        kwargs["pretrained"] = self._folder
        if self._placing:
            kwargs["parallelize"] = False
        # HFLM hands on what the folder's own configuration says
        if is_stored(self.config):
            kwargs["quantization_config"] = None
        if any(kwargs.get(option) for option in HFLM_LOADING):
            super()._create_model(**kwargs)
            use_scan(self.model)
        else:
            self._model, spec = self._load(kwargs)
            if self._prune_spec is not None:
                self._prune(self._prune_spec)
            if spec.store is not None:
                from sentinel_research.quantisation import store_small

                self._precision = store_small(self._model, spec.store).model_dump(mode="json")
            return
        if self._prune_spec is not None:
            self._prune(self._prune_spec)

    def _prune(self, spec: PruneSpec) -> None:
        from sentinel_research.data.calibration import calibration_set
        from sentinel_research.data.fitted import calibration_fingerprints
        from sentinel_research.pruning import prune

        draw = spec.calibration
        calibration = None
        if draw is not None:
            calibration = calibration_set(draw, self.tokenizer, **self._encoding)
            self._calibrated_on = frozenset[str]().union(*calibration_fingerprints([draw]))
        self._model.eval()
        self._model, report = prune(self._model, spec, calibration=calibration)
        self._prune_report = report.model_dump(mode="json")

    def _load(self, options: dict[str, Any]) -> tuple[PreTrainedModel, ModelSpec]:
        """The project's own loader: no weight is left at random, nothing is unpickled.

        Returns:
            The model before it is stored in a few bits, and what was asked for.
        """
        from sentinel_research.pruning import load
        from sentinel_research.recipe import parse

        ours = {
            "pretrained": self._folder,
            "dtype": str(options["dtype"]).removeprefix("torch."),
            "device": str(self.device),
            "trust_remote_code": bool(options["trust_remote_code"]),
            **self._bits,
            **self._placing,
        }
        if "attn_implementation" in options:
            ours["attn_implementation"] = options["attn_implementation"]
        rest = set(options) - {*ours, *HFLM_LOADING, *_HFLM_PLACING}
        if rest:
            raise UsageError(
                f"unknown model_args: {', '.join(sorted(rest))}",
                did_you_mean(min(rest), [*PRUNING_ARGUMENTS, *PRECISION_ARGUMENTS, *ours]),
            )
        spec = parse(ModelSpec, ours, "model_args")
        return load(spec, stores=False).model, spec

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Let lm-eval's `--use_cache` read and write the answers of this very model alone."""
        if cache_hook.dbdict is not None:
            refusals = [sorted(self._calibrated_on), self._allow_lossy_tokenizer]
            self.answers_of = answers_fingerprint(self, refusals)
            open_table(cache_hook.dbdict, self.answers_of)
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """HFLM's information, with window, bytes and what was pruned; stored in the results."""
        from sentinel_research.models import held_bytes, num_parameters

        info = super().get_model_info()
        info["sentinel_max_length"] = self.max_length
        info["sentinel_reads_shared_beginnings_once"] = self.shares_beginnings
        if self._ways:
            info["sentinel_answered_by"] = dict(self._ways)
        if self.answers_of is not None:
            info["sentinel_answers_of"] = self.answers_of
        info["model_num_parameters"] = num_parameters(self.model)
        info["sentinel_weight_bytes"] = held_bytes(self.model)
        if self._precision is not None:
            info["sentinel_precision"] = self._precision
        if self._prune_report is not None:
            info["sentinel_prune"] = self._prune_report
        return info

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """HFLM's, after a check that no document was calibrated on."""
        self._check_calibration(requests)
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm or self._bars.is_quiet)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """HFLM's texts, rows leaving the batch when they stop; no document was calibrated on."""
        self._check_calibration(requests)
        bars = self._bars.hushed(disable_tqdm or not distributed.is_main())
        stock = functools.partial(super().generate_until, disable_tqdm=bars.is_quiet)
        asked = [request.args for request in requests]

        def own(part: range) -> list[str]:
            found = answer(self, [requests[one] for one in part], stock, bars=bars)
            self._ways += found.ways
            return found.texts

        with counted_cuts():
            return self._divided([len(prompt) for prompt, _ in asked], asked, own)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of whole texts in lm-eval's windows, all documents batched together.

        Returns:
            One RollingLogLikelihood per request: a float (nats) that knows its windows.

        Raises:
            DataError: if the tokenizer cannot represent a text, so that a loss per word would
                leave words out, or if the pruning was calibrated on it.
        """
        self._check_calibration(requests)
        kind = ("rolling", self.max_length, self._allow_lossy_tokenizer, *self._settings())
        asked = self._encodings.equal(kind, tuple(request.args for request in requests))
        windows, counts = self._encodings.once(kind, asked, lambda: self._all_windows(requests))
        scored = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        results: list[float] = []
        start = 0
        for count in counts:
            part = range(start, start + count)
            results.append(
                RollingLogLikelihood(
                    window_log_likelihoods=tuple(scored[index][0] for index in part),
                    window_num_tokens=tuple(len(windows[index][2]) for index in part),
                )
            )
            start += count
        return results

    def _all_windows(self, requests: list[Instance]) -> tuple[list[Request], list[int]]:
        """The windows of all texts, and how many each has."""
        windows: list[Request] = []
        counts = []
        for request in requests:
            (text,) = request.args
            found = list(self._rolling_windows(text))
            windows.extend((None, context, target) for context, target in found)
            counts.append(len(found))
        return windows, counts

    @property
    def prefix_token_id(self) -> int:
        """The token that the first token of a text is conditioned on: given, BOS or EOS.

        Raises:
            UsageError: if the tokenizer has neither and none was given.
        """
        prefix = super().prefix_token_id
        if prefix is None:
            raise UsageError(
                "this model's tokenizer has neither a BOS nor an EOS token to start a text with",
                "add prefix_token_id=N to model_args, or `evaluate.prefix_token_id` to the recipe: "
                "for character models the id of the newline is usual",
            )
        return int(prefix)

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """HFLM's; the end token, which character models lack, is a text that no model writes."""
        return "\0" if tokens is None else super().tok_decode(tokens, skip_special_tokens)

    @property
    def max_gen_toks(self) -> int:
        """Tokens to generate where a task does not say: HFLM's 256, at most half of the window."""
        return min(int(super().max_gen_toks), max(1, self.max_length // 2))

    def _check_calibration(self, requests: Sequence[Instance]) -> None:
        """`sentinel run` compares whole splits; lm-eval tells the model its documents only here."""
        if not self._calibrated_on:
            return
        from sentinel_research.data.fitted import request_fingerprints

        for request in requests:
            if not self._calibrated_on.isdisjoint(request_fingerprints(request)):
                raise DataError(
                    f"'{request.task_name}' evaluates a document that the pruning was calibrated "
                    f"on: {str(request.doc)[:100]}",
                    "calibrate on another corpus or task, or draw other documents with "
                    "calibration_seed=N",
                )

    def _rolling_windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        tokens = self.tok_encode(text)
        if not self._allow_lossy_tokenizer:
            self._coverage.check(text, tokens)
        for window in utils.get_rolling_token_windows(
            token_list=tokens,
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        ):
            yield utils.make_disjoint_window(window)
