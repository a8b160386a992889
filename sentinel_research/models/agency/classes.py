"""Gated models as ordinary transformers classes: save, reload, generate, lm-eval.

A gated model is its family's model, dense or pruned, whose configuration carries `agency` (an
`AgencySpec` as JSON) and, with baseline integration, the configuration of the frozen model. The
constructor builds the model and attaches what `agency` asks for, so that `from_pretrained` loads
all of it strictly. A pruned model has a gate for every head that it still has.
"""

from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)

from sentinel_research.models.agency.attach import attach_gates
from sentinel_research.models.agency.baseline import (
    BaselineMix,
    FrozenBaseline,
    attach_baseline,
)
from sentinel_research.models.agency.gate import HeadGate
from sentinel_research.models.agency.skips import SkipFusion, attach_skips
from sentinel_research.models.anatomy import AGENCY_PREFIX, anatomy_of
from sentinel_research.models.derived import auto_map, named, publish
from sentinel_research.models.pruned import PRUNED_CLASSES
from sentinel_research.specs import AgencySpec

SKIPS, BASELINE, MIXES = "agency_skips", "agency_baseline", "agency_mixes"
"""Modules of a gated model beside the gates."""


def _agency_config_class(pruned: Any, family: str, name: str, model_name: str) -> Any:
    """A configuration class: that of the pruned family, with every part there by default."""

    class AgencyConfig(pruned):
        """The family's configuration with `agency`.

        Args:
            agency: An `AgencySpec` as JSON; null for none.
            baseline_config: Configuration of the frozen model of baseline integration.
        """

        model_type = f"{AGENCY_PREFIX}{family}"
        agency: dict[str, Any] | None = None
        baseline_config: dict[str, Any] | None = None

        def __post_init__(self, **kwargs: Any) -> None:
            super().__post_init__(**kwargs)
            self.auto_map = auto_map(name, model_name)

    return named(AgencyConfig, name)


def _agency_model_class(pruned: Any, config: Any, name: str) -> Any:
    """A model class: that of the pruned family, with `agency` attached after it was built."""

    class AgencyForCausalLM(pruned, GenerationMixin):
        """The family's model with gates and optional extra paths."""

        config_class = config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            attach(self)

        def initialize_weights(self) -> None:
            """Fill what no checkpoint filled, gates first.

            The decoder that they stand in is a model of its own, and its class knows no gates.
            """
            for module in self.modules():
                if isinstance(module, HeadGate):
                    self._initialize_weights(module, self.is_custom_code())
            super().initialize_weights()

        def _init_weights(self, module: nn.Module) -> None:
            if isinstance(module, HeadGate | SkipFusion | BaselineMix):
                module.reset_parameters()
            else:
                super()._init_weights(module)

    return named(AgencyForCausalLM, name)


def attach(model: PreTrainedModel) -> None:
    """Attach what a freshly built model's configuration asks for."""
    config = model.config
    spec = spec_of(config)
    if spec is None:
        return
    if spec.gate is not None:
        attach_gates(model, spec)
    layers = list(model.get_submodule(anatomy_of(config).layers).children())
    # hooks run in this order: the frozen model's states are mixed in first
    if config.baseline_config is not None:
        fields = dict(config.baseline_config)
        base = AutoConfig.for_model(fields.pop("model_type"), **fields)
        base._attn_implementation = config._attn_implementation
        frozen = FrozenBaseline(AutoModel.from_config(base), len(layers))
        model.add_module(BASELINE, frozen)
        model.add_module(MIXES, attach_baseline(model, layers, frozen))
    if spec.skips:
        model.add_module(SKIPS, attach_skips(layers, config.hidden_size))


def spec_of(config: PretrainedConfig) -> AgencySpec | None:
    """The agency that a configuration carries, if any."""
    fields = getattr(config, "agency", None)
    return None if fields is None else AgencySpec.model_validate(fields)


def _pair(family: str) -> tuple[Any, Any]:
    """Agency classes under their names in this module, where `auto_map` looks for them."""
    pruned_config, pruned_model = PRUNED_CLASSES[family]
    names = [cls.__name__.replace("Pruned", "Agency") for cls in (pruned_config, pruned_model)]
    config = _agency_config_class(pruned_config, family, *names)
    model = _agency_model_class(pruned_model, config, names[1])
    globals().update(zip(names, (config, model), strict=True))
    return config, model


AGENCY_CLASSES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    family: _pair(family) for family in PRUNED_CLASSES
}

for _config_class, _model_class in AGENCY_CLASSES.values():
    publish(__name__, _config_class, _model_class)
