"""Which units are masked from one update of a mask to the next.

References: [1] Evci et al. 2020, Rigging the Lottery, algorithm 1,
https://arxiv.org/abs/1911.11134; [2] Michel et al. 2019, Are Sixteen Heads Really Better than One?,
section 4.1, https://arxiv.org/abs/1905.10650.
"""

import contextlib

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.layout import structure_of
from sentinel_research.models.modes import evaluating, frozen
from sentinel_research.pruning import Planned, PruningPlan, Scores, plan_units
from sentinel_research.pruning.calibrate import forward, sequence_nll
from sentinel_research.pruning.gates import gate_units, part_gates
from sentinel_research.pruning.score import UnitValues, fingerprint_of
from sentinel_research.pruning.units import removed_units
from sentinel_research.recoveries.masks import Choice, Moment
from sentinel_research.recoveries.schedules import exchanged_share
from sentinel_research.specs import PruneSpec


def more(moment: Moment) -> Planned:
    """What is masked stays masked; the rest goes by the scores of the masked model as it is now."""
    return plan_units(
        moment.model,
        moment.spec,
        moment.calibration,
        scores=moment.scores,
        first=moment.before,
    )


def anew(moment: Moment) -> Planned:
    """Everything is scored with the mask lifted, whatever it hid."""
    with moment.mask.lifted():
        return plan_units(moment.model, moment.spec, moment.calibration, scores=moment.scores)


def exchange(initial_share: float, every: int, end: float) -> Choice:
    """Drop the active units of the lowest scores, and grow masked ones by their gates' gradients.

    A gate multiplies what its unit hands on, so its gradient at 0 is not 0: it is the first-order
    change of the loss as the unit comes in, `|dL/dgate|` [2]. It is measured with the dropped units
    masked, and they may come back at once, as in [1].

    Args:
        initial_share: Share of the active units that is dropped at step 0, see `exchanged_share`.
        every: The step of the first exchange.
        end: Step at which the share has come down to none.

    Returns:
        The choice; at step 0 it is that of one-shot pruning, and raises UsageError where the first
        exchange, the largest, would drop less than one unit.
    """

    def dropping(spec: PruneSpec, step: int) -> PruneSpec:
        share = exchanged_share(initial_share, step, end)
        # the minimum per layer holds for what is left in the end; until then nothing has to stay
        return spec.model_copy(
            update={"fraction": spec.fraction + share * (1 - spec.fraction), "min_per_layer": 0}
        )

    def start(moment: Moment) -> Planned:
        model, text = moment.model, moment.calibration
        chosen = plan_units(model, moment.spec, text, scores=moment.scores)
        largest = plan_units(
            model, dropping(moment.spec, every), text, scores=moment.scores, first=chosen.plan
        )
        if largest.plan.kept == chosen.plan.kept:
            raise UsageError(
                f"`regrow.drop_share` = {initial_share:g} is less than one of the active units"
                f"{' of every layer' if moment.spec.scope == 'local' else ''}: none would ever be "
                "exchanged",
                "raise it, or compare all layers together with `prune.scope: global`",
            )
        return chosen

    def choose(moment: Moment) -> Planned:
        spec, before = moment.spec, moment.before
        if before is None:
            return start(moment)
        assert moment.calibration is not None  # `regrow` refuses it
        dropped = plan_units(
            moment.model, dropping(spec, moment.step), moment.calibration, first=before
        )
        with moment.mask.lifted():
            gradients = gate_gradients(moment.model, dropped.plan, spec, moment.calibration)
        fingerprint = fingerprint_of(spec, moment.calibration)
        scores = Scores(gradients, None, None, None, fingerprint, seconds=0.0)
        chosen = plan_units(moment.model, spec, scores=scores, first=dropped.plan)
        # the record has the importance by which units were dropped, as of every other plan
        origin = {key: getattr(dropped.plan, key) for key in ("scores", "score_errors")}
        return chosen._replace(plan=chosen.plan.model_copy(update=origin), overlap=dropped.overlap)

    return choose


def gate_gradients(
    model: PreTrainedModel, plan: PruningPlan, spec: PruneSpec, text: CalibrationSet
) -> UnitValues:
    """The size of the mean loss' gradient with respect to every unit's gate, under a mask.

    Args:
        model: Without a mask; left as it was.
        plan: The units whose gates are 0; those of others are 1.
        spec: For the kinds of unit and the batch size.
        text: The loss is the mean over its sequences of nats per target token.

    Returns:
        Per kind and layer one number per unit.
    """
    structure = structure_of(model.config)
    gone = removed_units(structure, spec.granularities, plan.kept)
    leaves: dict[str, list[Tensor]] = {
        kind: [
            torch.tensor([float(unit not in layer) for unit in range(count)], device=model.device)
            for layer, count in zip(layers, structure.num_units(kind), strict=True)  # type: ignore[arg-type]
        ]
        for kind, layers in gone.items()
    }
    flat = [leaf.requires_grad_() for layers in leaves.values() for leaf in layers if len(leaf)]
    totals = [torch.zeros_like(leaf, dtype=torch.float64) for leaf in flat]
    batch_size = spec.calibration.batch_size if spec.calibration else 16
    with torch.enable_grad(), evaluating(model), frozen(model):
        for start in range(0, len(text), batch_size):
            part = text.select(slice(start, start + batch_size)).to(model.device)
            with contextlib.ExitStack() as gated:
                # every backward pass uses up the way from parts to units
                for kind, layers in leaves.items():
                    gated.enter_context(gate_units(model, part_gates(structure, kind, layers)))
                loss = sequence_nll(forward(model, part), part).sum()
            for total, gradient in zip(totals, torch.autograd.grad(loss, flat), strict=True):
                total.add_(gradient)
    sizes = iter((total.abs() / len(text)).tolist() for total in totals)
    return {
        kind: [next(sizes) if len(leaf) else [] for leaf in layers]
        for kind, layers in leaves.items()
    }
