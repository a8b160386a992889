"""Train low-rank additions to the projections, and add them to the weights at the end.

Glossary: `W` a projection's weight [out, in], `r` the rank, `M` a mask that is 0 where pruning took
a weight out.

References: [1] Hu et al. 2021, LoRA, section 4.1, https://arxiv.org/abs/2106.09685. [2] Zimmer et
al. 2023, PERP, section 3.2 (MaskLoRA), https://arxiv.org/abs/2312.15230.
"""

from typing import Any, Literal, cast

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora.layer import Linear, LoraVariant
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.agency import spec_of
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec

Target = Literal["attention", "feed_forward"]
_ADAPTER = "default"
# what a mask and gates have put on a projection
_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
          "_forward_hooks_with_kwargs", "_forward_hooks_always_called")  # fmt: skip


class LoraOptions(Spec):
    """Size of the additions, and where they are."""

    r: int = Field(default=8, gt=0)
    """Rank."""
    alpha: int = Field(default=16, gt=0)
    """The additions are scaled by `alpha / r`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of what the additions read, in training."""
    targets: tuple[Target, ...] = Field(default=("attention", "feed_forward"), min_length=1)
    """Blocks whose projections, inputs and output, have additions."""

    @field_validator("targets")
    @classmethod
    def _targets_differ(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len(set(targets)) != len(targets):
            raise ValueError(f"names a block twice: {list(targets)}")
        return targets


class MaskedLora(LoraVariant):
    """Makes peft's layer compute `(W + M * (alpha / r) B A) x`, in training and when merged [2].

    Without a mask the product `B A` is dense: a plain addition would fill the zeros of a sparse
    matrix, and taking them out again after training would give another model than was trained.

    Args:
        keep: `M`, of the weight's shape.
    """

    def __init__(self, keep: Tensor) -> None:
        self._keep = keep

    def forward(  # type: ignore[override]
        self, module: Linear, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """The layer's output.

        Args:
            module: peft's layer.
            active_adapter: Which of its additions.
            x: What the layer reads.
            result: `W x` and the bias.
        """
        added = self._added(module, active_adapter)
        weight = added.T if module.fan_in_fan_out else added
        return result + F.linear(module.lora_dropout[active_adapter](x), weight)

    def merge_safe(  # type: ignore[override]
        self, module: Linear, active_adapter: str, orig_weight: Tensor
    ) -> Tensor:
        """The merged weight; where `M` is 0 it keeps every bit."""
        return torch.where(
            self._keep.bool(), orig_weight + self._added(module, active_adapter), orig_weight
        )

    def _added(self, module: Linear, adapter: str) -> Tensor:
        delta: Tensor = module.get_delta_weight(adapter)
        self._keep = self._keep.to(delta.device)
        return delta * self._keep


@recovery(
    "lora",
    summary="low-rank additions to the projections are trained, and merged at the end",
    reference="Hu et al. 2021, section 4.1, https://arxiv.org/abs/2106.09685; sparse weights: "
    "Zimmer et al. 2023, https://arxiv.org/abs/2312.15230",
    options=LoraOptions,
    excludes=("heads", "per_head_lr", "component_lr", "gates"),
    why_excluded="every entry of an addition is shared by all heads of its layer, and everything "
    "else is frozen",
)
def lora(inputs: RecoveryInputs, options: LoraOptions) -> Adjustment:
    """Freeze the model, and train `A` and `B` of `(W + (alpha / r) B A) x` by peft.

    `A` starts at random by the seed of the training, `B` at zero. A matrix of which pruning holds
    entries, units that are masked or single weights at zero, is `W + M * (alpha / r) B A`. At the
    end the additions are merged: the result is of the class that was given.

    Raises:
        UsageError: for a family without a row in the anatomy table, a model without a projection in
            the targets, or one whose heads are moved by a policy of agency.
    """
    model = inputs.model
    agency = spec_of(model.config)
    if agency is not None and agency.policy is not None:
        raise UsageError(
            "`lora` cannot train a model whose heads are moved by `agency.policy`: it measures "
            "them by the projections alone, without their additions",
            "leave `policy` out of `model.agency`, or train `full`",
        )
    paths = _targets(model, options)
    config = LoraConfig(
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=paths,
        fan_in_fan_out=anatomy_of(model.config).weight == "conv1d",
    )
    factors, flags = held(model, inputs.plan), _flags(model)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    with torch.random.fork_rng():
        torch.manual_seed(inputs.spec.train.seed)
        tuner = LoraModel(model, config, _ADAPTER)
    for path in paths:
        layer: Any = model.get_submodule(path)
        _swap_hooks(layer, layer.get_base_layer())
        if (factor := factors.get(f"{path}.weight")) is not None:
            keep = (factor != 0).float().expand(layer.weight.shape)
            layer.lora_variant[_ADAPTER] = MaskedLora(keep)
    num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def finish(trained: PreTrainedModel) -> PreTrainedModel:
        layers = {path: trained.get_submodule(path) for path in paths}
        plain = cast("PreTrainedModel", tuner.merge_and_unload(safe_merge=True))
        for path, layer in layers.items():
            _swap_hooks(layer, plain.get_submodule(path))
        for name, flag in flags.items():
            plain.get_parameter(name).requires_grad_(flag)
        return plain

    report = {**options.model_dump(mode="json"), "num_parameters": num_trained, "modules": paths}
    return Adjustment(
        model=model,
        renamed=_renamed(names, paths),
        finish=finish,
        report=lambda: {"lora": report},
    )


def _targets(model: PreTrainedModel, options: LoraOptions) -> list[str]:
    """Paths of the projections that the model still has."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    paths = []
    for layer, parts in enumerate(structure.layers):
        if "attention" in options.targets and parts.heads:
            paths += [*row.input_paths(layer, "attention"), row.output_path(layer, "attention")]
        if "feed_forward" in options.targets and parts.neurons:
            paths += [*row.input_paths(layer, "ffn"), row.output_path(layer, "ffn")]
    if not paths:
        raise UsageError(
            f"`lora.targets`: pruning left no projection in {' and '.join(options.targets)}",
            "name the other block, or train `full`",
        )
    return paths


def _flags(model: PreTrainedModel) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def _renamed(names: list[str], paths: list[str]) -> dict[str, str]:
    """What peft calls the parameters of the layers that it wraps."""
    wrapped = set(paths)
    found = {}
    for name in names:
        path, _, own = name.rpartition(".")
        if path in wrapped:
            found[name] = f"{path}.base_layer.{own}"
    return found


def _swap_hooks(one: nn.Module, other: nn.Module) -> None:
    """Masks and gates act on what the whole layer reads, its addition included."""
    for name in _HOOKS:
        mine, its = getattr(one, name), getattr(other, name)
        setattr(one, name, its)
        setattr(other, name, mine)
