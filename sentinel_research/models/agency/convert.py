"""Give a model agency, and take it off again."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.agency.attach import GATE_NAME
from sentinel_research.models.agency.baseline import BaselineMix
from sentinel_research.models.agency.classes import (
    AGENCY_CLASSES,
    BASELINE,
    MIXES,
    SKIPS,
    spec_of,
)
from sentinel_research.models.agency.gate import HeadGate
from sentinel_research.models.agency.skips import SkipFusion
from sentinel_research.models.anatomy import ANATOMIES, anatomy_of, context_length, family_of
from sentinel_research.models.hooks import refuse_hooks
from sentinel_research.models.layout import attention_windows, is_pruned
from sentinel_research.models.pruned import PRUNED_CLASSES
from sentinel_research.models.rebuild import rebuild
from sentinel_research.specs import AgencySpec

_DECODER = f"{BASELINE}.decoder."
_NOT_CARRIED = ("model_type", "architectures", "auto_map", "transformers_version", "agency",
                "baseline_config")  # fmt: skip


def add_agency(
    model: PreTrainedModel, spec: AgencySpec, *, baseline: PreTrainedModel | None = None
) -> PreTrainedModel:
    """A copy of a model with gates and extra paths, all at rest: its logits are the same bits.

    Args:
        model: Dense or pruned model of a known family; it is not changed.
        spec: What to add.
        baseline: The model that `spec.baseline` names, of the same family; it is copied.

    Returns:
        A model of the family's agency class.

    Raises:
        UsageError: if the family is unknown, the model has agency or a mask already, or the
            baseline is missing, not asked for, or does not fit.

    Example:
        >>> from sentinel_research.models.tiny import tiny_model
        >>> add_agency(tiny_model("gpt2"), AgencySpec(gate="static")).config.model_type
        'agency_gpt2'
    """
    if family_of(model.config) not in ANATOMIES:
        raise UsageError(
            f"agency cannot be added to a model of type '{model.config.model_type}'",
            f"It can to {', '.join(sorted(ANATOMIES))}. The architecture 'sentinel' has it in its "
            "configuration: mixers: agency.",
        )
    family = anatomy_of(model.config).family
    if spec_of(model.config) is not None:
        raise UsageError(
            "this model has agency already",
            "Take it off first: remove_agency(model). In a recipe leave `model.agency` out.",
        )
    refuse_hooks(model, "gated")
    _check_baseline(model, spec, baseline)
    fields = {"agency": spec.model_dump(mode="json")}
    if baseline is not None:
        fields["baseline_config"] = baseline.config.to_dict()
    config = _moved(model.config, AGENCY_CLASSES[family][0], fields)
    # the state of rest is that of a freshly built model
    state = {**_copied(model), **_fresh(model, config, baseline)}
    beside = {} if baseline is None else {_DECODER: baseline.base_model}
    return rebuild(model, config, state, beside)


def remove_agency(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model without its gates and extra paths, dense or pruned as it is.

    What the gates have learned is lost, and withdrawn heads are back: remove those first by
    `plan_from_states`.

    Args:
        model: With agency; it is not changed.

    Returns:
        A model of the family's own or pruned class.

    Raises:
        UsageError: if it has no agency.
    """
    if spec_of(model.config) is None:
        raise UsageError(
            f"a model of type '{model.config.model_type}' has no agency", "See add_agency."
        )
    family = anatomy_of(model.config).family
    pruned_class: Any = PRUNED_CLASSES[family][0]
    # the dense class is what the pruned one was made from
    target = pruned_class if is_pruned(model.config) else pruned_class.__mro__[1]
    config = _moved(model.config, target, {})
    return rebuild(model, config, {k: v for k, v in _copied(model).items() if not _is_added(k)})


def _is_added(key: str) -> bool:
    parts = key.split(".")
    return GATE_NAME in parts or parts[0] in (SKIPS, BASELINE, MIXES)


def _copied(model: PreTrainedModel) -> dict[str, Tensor]:
    copies: dict[int, Tensor] = {}
    return {
        key: copies.setdefault(id(value), value.detach().clone())
        for key, value in model.state_dict(keep_vars=True).items()
    }


def _moved(config: PretrainedConfig, target: Any, added: dict[str, Any]) -> PretrainedConfig:
    fields = {key: value for key, value in config.to_dict().items() if key not in _NOT_CARRIED}
    if not hasattr(target, "pruning"):
        for key in ("pruning", "output_biases"):
            fields.pop(key, None)
    new: PretrainedConfig = target.from_dict({**fields, **added})
    new.name_or_path = config.name_or_path
    new._attn_implementation = config._attn_implementation
    return new


def _fresh(
    model: PreTrainedModel, config: PretrainedConfig, baseline: PreTrainedModel | None
) -> dict[str, Tensor]:
    """State at rest of everything that is added, of the model's type and on its device."""
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config)
    state: dict[str, Tensor] = {}
    for path, module in shapes.named_modules():
        if isinstance(module, HeadGate | SkipFusion | BaselineMix):
            module.to_empty(device=model.device)
            module.reset_parameters()
            for name, tensor in module.state_dict(keep_vars=False).items():
                floats = tensor.is_floating_point()
                state[f"{path}.{name}"] = tensor.to(model.dtype) if floats else tensor
    if baseline is not None:
        for name, tensor in baseline.base_model.state_dict().items():
            copy = tensor.detach().clone().to(device=model.device, dtype=model.dtype)
            state[f"{_DECODER}{name}"] = copy
    return state


def _check_baseline(
    model: PreTrainedModel, spec: AgencySpec, baseline: PreTrainedModel | None
) -> None:
    if (baseline is None) != (spec.baseline is None):
        raise UsageError(
            f"`baseline` is {spec.baseline!r} in the spec, and the model given is "
            f"{'absent' if baseline is None else baseline.config.model_type}",
            "Name it in the spec, and give the loaded model.",
        )
    if baseline is None:
        return
    family = anatomy_of(model.config).family
    if baseline.config.model_type != family:
        raise UsageError(
            f"a baseline of type '{baseline.config.model_type}' does not fit a {family} model",
            f"Give a dense {family} model.",
        )
    for what, theirs, ours in (
        ("tokens", baseline.config.vocab_size, model.config.vocab_size),
        (
            "attention windows",
            set(attention_windows(baseline.config)),
            set(attention_windows(model.config)),
        ),
        ("positions", context_length(baseline.config), context_length(model.config)),
    ):
        if theirs != ours:
            raise UsageError(
                f"the baseline has {what} {theirs}, the model {ours}",
                "Give a baseline with the model's own tokenizer, context and windows.",
            )
