"""Who writes the texts that a task asks for: a continuous batch, or lm-eval's own loop.

transformers is asked, not imitated: `generate` puts together what it is told, what the checkpoint's
generation configuration says and its own defaults, and is stopped right before it decodes. What is
left to do is greedy if nothing changes the logits and nothing ends a text but its length, an end
token or lm-eval's stop strings.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import MultiTokenEOSCriteria
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.caches import KNOWN_FAMILIES, cache_name
from sentinel_research.evaluation.writing.columns import has_known_columns
from sentinel_research.evaluation.writing.greedy import Ending
from sentinel_research.models.anatomy import family_of

_CACHES = ("past_key_values", "cache_params")
# what `generate` hands to a decoding method, besides the cache, for a prompt without padding
_PLAIN = frozenset({"attention_mask", "position_ids", "use_cache", "logits_to_keep", *_CACHES})


class Route(NamedTuple):
    """How requests are answered."""

    ending: Ending | None
    """What ends a text in a continuous batch; None for lm-eval's loop."""
    reason: str
    """Why it is lm-eval's loop."""


def check_generates(model: PreTrainedModel) -> None:
    """Refuse a model that has no way to write a text.

    Raises:
        UsageError: for a model without `generate`, or without a cache to go on from.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    # wrappers take everything and pass it on
    passes_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    if not model.can_generate() or (cache_name(model) is None and not passes_on):
        raise UsageError(
            f"{type(model).__name__} cannot write texts: it has no `generate`, or no cache to go "
            "on from",
            "leave out the tasks whose output_type is generate_until",
        )


def route(
    lm: HFLM,
    prompt: Sequence[int],
    until: Sequence[str],
    max_tokens: int,
    options: dict[str, Any],
) -> Route:
    """Ask `generate` of transformers what it would do, and say who does it.

    Args:
        lm: Model, tokenizer and window.
        prompt: Token ids of one of the requests.
        until: Strings that end a text.
        max_tokens: Tokens of a text at most.
        options: Everything else that the requests ask for.
    """
    family = family_of(lm.model.config)
    if family not in KNOWN_FAMILIES or cache_name(lm.model) is None:
        return Route(None, f"family {family} is not known to decode rows of different lengths")
    # the total length of prompt and text depends on the prompt
    foreign = {"max_length", "custom_generate"} & options.keys()
    if foreign:
        return Route(None, f"{', '.join(sorted(foreign))} is asked for")
    ids = torch.tensor([prompt], device=lm.device)
    plan: _Plan = lm._model_generate(
        context=ids,
        max_length=len(prompt) + max_tokens,
        stop=list(until),
        attention_mask=torch.ones_like(ids),
        custom_generate=_planned,
        **options,
    )
    reason = _obstacle(plan)
    return Route(None if reason else _ending(plan, max_tokens), reason)


class _Plan(NamedTuple):
    """What `generate` was about to do."""

    processors: Sequence[Any]
    criteria: Sequence[Any]
    config: GenerationConfig
    rest: dict[str, Any]
    """What else a decoding method is given."""


def _planned(
    model: PreTrainedModel,  # noqa: ARG001
    input_ids: torch.Tensor,  # noqa: ARG001
    logits_processor: Sequence[Any],
    stopping_criteria: Sequence[Any],
    generation_config: GenerationConfig,
    **rest: Any,
) -> _Plan:
    """Take the place of a decoding method, and decode nothing."""
    return _Plan(logits_processor, stopping_criteria, generation_config, rest)


def _obstacle(plan: _Plan) -> str:
    """Why a plan is more than taking the likeliest token until something ends the text."""
    mode = plan.config.get_generation_mode()
    if mode is not GenerationMode.GREEDY_SEARCH:
        return f"{mode.value} is asked for"
    known = (MaxLengthCriteria, EosTokenCriteria, MultiTokenEOSCriteria)
    changing = [type(one).__name__ for one in plan.processors]
    changing += [type(one).__name__ for one in plan.criteria if type(one) not in known]
    caches = [plan.rest.get(name) for name in _CACHES]
    if not any(cache is not None and has_known_columns(cache) for cache in caches):
        changing.append("cache_implementation")
    rest = plan.rest.keys() - _PLAIN
    changing += sorted(name for name in rest if plan.rest[name] is not None)
    if plan.config.prefill_chunk_size is not None:
        changing.append("prefill_chunk_size")
    return f"{', '.join(changing)} is asked for" if changing else ""


def _ending(plan: _Plan, max_tokens: int) -> Ending:
    """What transformers' and lm-eval's own criteria look at."""
    tokens: set[int] = set()
    phrases: dict[int, tuple[str, ...]] = {}
    for one in plan.criteria:
        if isinstance(one, EosTokenCriteria):
            tokens.update(one.eos_token_id.tolist())
        elif isinstance(one, MultiTokenEOSCriteria):
            length = one.sequence_id_len
            phrases[length] = (*phrases.get(length, ()), one.sequence)
    return Ending(max_tokens, frozenset(tokens), phrases)
