"""A mask that changes while its model trains: gates, and what holds the masked parameters still.

A masked unit's gate is 0, so it gives nothing and gets no gradient. The factor of its parameters'
updates is 0 too: they keep every bit, weight decay and momentum included. Single weights have no
gate: they are set to zero, and held there.

A unit that comes back has the weights that it had when it went. What AdamW remembers of it does not
act: its first moment is 0, and its second moment is the mean of those entries of the same parameter
that were not masked. Its own second moment has decayed while it was masked, or was never measured;
as AdamW corrects its bias by the steps of the whole parameter, the first tens of updates would be
several times the learning rate.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import projection_paths, structure_of
from sentinel_research.pruning import PruningPlan
from sentinel_research.pruning.gates import gate_units, plan_gates, zero_weights
from sentinel_research.pruning.score import WEIGHT_KINDS
from sentinel_research.pruning.units import owners
from sentinel_research.recoveries.unit_factors import held, unit_factors
from sentinel_research.structure import UNIT_KINDS, Structure, UnitKind


class LiveMask:
    """The mask of one model in training; nothing is masked at first.

    Args:
        model: Of a known family, without a mask. It carries gates from now on.
        kinds: Kinds of unit that plans will name.

    Attributes:
        factors: For `training.Adjustments.changing`.
    """

    def __init__(self, model: PreTrainedModel, kinds: tuple[str, ...]) -> None:
        self._model = model
        self._structure = structure_of(model.config)
        parts = _parts(self._structure, kinds)
        self._gates: dict[UnitKind, list[Tensor]] = {
            kind: [
                torch.ones(count, device=model.device) for count in self._structure.num_units(kind)
            ]
            for kind in parts
        }
        self._handle = gate_units(model, self._gates)
        is_weights = kinds[0] in WEIGHT_KINDS
        self.factors = _of_weights(model) if is_weights else _of_parts(model, parts)

    @torch.no_grad()
    def put(self, plan: PruningPlan, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Mask what a plan takes away, and nothing else.

        Args:
            plan: Of this model.
            optimizer: AdamW, whose moments of what comes back are replaced; None where training
                has only been resumed.
        """
        self._set_gates(plan)
        zero_weights(self._model, plan)
        now = held(self._model, plan)
        for name, factor in self.factors.items():
            new = factor.clone().copy_(now[name]) if name in now else torch.ones_like(factor)
            if optimizer is not None:
                parameter = self._model.get_parameter(name)
                _restart(optimizer, parameter, (factor == 0) & (new == 1), factor == 1)
            factor.copy_(new)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Every gate is 1 inside the block; single weights stay zero."""
        saved = {kind: [gate.clone() for gate in layers] for kind, layers in self._gates.items()}
        for layers in self._gates.values():
            for gate in layers:
                gate.fill_(1)
        try:
            yield
        finally:
            for kind, layers in self._gates.items():
                for gate, old in zip(layers, saved[kind], strict=True):
                    gate.copy_(old)

    def remove(self) -> None:
        """Take the gates off the model."""
        self._handle.remove()

    def _set_gates(self, plan: PruningPlan) -> None:
        closed = plan_gates(self._structure, plan)
        for kind, layers in self._gates.items():
            for layer, gate in enumerate(layers):
                # a kind that loses nothing is not named
                if kind in closed:
                    gate.copy_(closed[kind][layer])
                else:
                    gate.fill_(1)


def _parts(structure: Structure, kinds: tuple[str, ...]) -> list[UnitKind]:
    """The kinds of part that units of these kinds consist of."""
    if kinds[0] in WEIGHT_KINDS:
        return []
    found = {part for kind in kinds for part in owners(structure, kind, 0)}
    return [part for part in UNIT_KINDS if part in found]


def _of_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    row, structure = anatomy_of(model.config), structure_of(model.config)
    names = [
        f"{path}.weight"
        for layer in range(structure.num_layers)
        for path in projection_paths(row, structure, layer)
    ]
    return {name: torch.ones_like(model.get_parameter(name)).detach() for name in names}


def _of_parts(model: PreTrainedModel, parts: list[UnitKind]) -> dict[str, Tensor]:
    """Ones, in the shapes in which `held` can name the parameters of these parts."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    blocks = {"head": "attention", "attention": "attention", "neuron": "ffn", "ffn": "ffn"}
    units: dict[str, UnitKind] = {"attention": "head", "ffn": "neuron"}
    chosen = [units[block] for block in dict.fromkeys(blocks[part] for part in parts)]
    found = unit_factors(
        model, {kind: [torch.ones(count) for count in structure.num_units(kind)] for kind in chosen}
    )
    names = dict(model.named_parameters(remove_duplicate=False))
    for block in ("attention", "ffn"):
        if block in parts:
            paths = [row.output_path(layer, block) for layer in range(structure.num_layers)]
            found |= {f"{path}.bias": torch.ones(()) for path in paths if f"{path}.bias" in names}
    return {
        name: factor.to(device=names[name].device, dtype=names[name].dtype)
        for name, factor in found.items()
    }


def _restart(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, returned: Tensor, moved: Tensor
) -> None:
    """Give entries that come back moments in which nothing of their past acts."""
    moments = optimizer.state.get(parameter)
    # before its first step an optimiser has none
    if not moments or not bool(returned.any()):
        return
    returned, moved = returned.expand_as(parameter), moved.expand_as(parameter)
    moments["exp_avg"][returned] = 0
    second = moments["exp_avg_sq"]
    second[returned] = second[moved].mean() if bool(moved.any()) else 0
