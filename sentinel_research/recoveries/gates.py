"""Train nothing but the gates of heads."""

from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.models.agency import HeadGate, add_agency, gated_layers
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.registry import recovery
from sentinel_research.specs import AgencySpec, GateMode, Spec


class GatesOptions(Spec):
    """Whether gates are added first."""

    add: GateMode | None = None
    """Put gates of this kind, at rest, on every head that pruning left; null trains the gates that
    the model has."""


@recovery(
    "gates",
    summary="only the gates of attention heads are trained",
    reference="Michel et al. 2019, section 2.2, https://arxiv.org/abs/1905.10650, gates as weights",
    options=GatesOptions,
    excludes=("heads", "per_head_lr", "component_lr"),
    why_excluded="gates are the only parameters that it trains, and those are about the others",
)
def gates(inputs: RecoveryInputs, options: GatesOptions) -> Adjustment:
    """Freeze everything but the parameters of `models.agency.HeadGate`.

    The output of attention is `sum_h g_h (a_h W_h) + b`; `g_h = 1 + offset_h` for static gates, see
    `models.agency.gate` for all kinds. Added gates start at rest, where no bit of the model
    changes. The result keeps them: it is of the family's agency class, is saved and reloads with
    its gates, and `remove_agency` takes them off.

    Raises:
        UsageError: without gates, where gates are to be added to a model that has some, is masked
            or of an unknown family.
    """
    has_gates = bool(gated_layers(inputs.model, inputs.model.config))
    if not has_gates and options.add is None:
        raise UsageError(
            f"`gates` trains the gates of heads, and a model of type "
            f"'{inputs.model.config.model_type}' has none",
            "add static ones: `gates: {add: static}`; or give the model `agency` from the start",
        )
    if has_gates and options.add is not None:
        raise UsageError(
            f"`gates.add` is {options.add}, and the model has gates already",
            "leave `add` out to train those",
        )
    model = inputs.model
    if options.add is not None:
        model = add_agency(model, AgencySpec(gate=options.add))
    of_gates = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, HeadGate)
        for name, _ in module.named_parameters()
    }
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    found: dict[str, Any] = {
        "added": options.add,
        "num_heads": [place.gate.num_heads for place in gated_layers(model, model.config)],
        "num_parameters": sum(model.get_parameter(name).numel() for name in of_gates),
    }
    return Adjustment(
        model=model,
        factors={name: 0.0 for name in names if name not in of_gates},
        report=lambda: {"gates": found},
    )
