"""A search on a real model, and its result measured and exported."""

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from sentinel_research.cost import costs
from sentinel_research.cost.predict import machine_rates
from sentinel_research.cost.schema import Clock, CostReport
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.profiling.predicted import Predictor, predictor
from sentinel_research.profiling.schema import Look, Loss, TargetPart
from sentinel_research.profiling.search import Measured, Speeds, Tried, search, space_of
from sentinel_research.profiling.subject import Subject
from sentinel_research.progress import Progress
from sentinel_research.specs import CostSpec
from sentinel_research.specs.profile import Combination, TargetSpec
from sentinel_research.timing import Median


class ModelMeter:
    """Asks a real model what a search asks.

    Args:
        subject: The dense model with its text.
        spec: How it is timed; memory and modules are left out.
        progress: Who is told, see `costs`.
    """

    def __init__(self, subject: Subject, spec: CostSpec, progress: Progress) -> None:
        self._subject, self._progress = subject, progress
        self._spec = spec.model_copy(update={"fresh_process": False, "modules": False})
        device = str(subject.model.device)
        self._clock: Clock = "cpu" if subject.model.device.type == "cpu" else "wall"
        rates = machine_rates(device, subject.model.dtype, self._clock)
        self._predictor: Predictor = predictor(subject.model, self._spec, rates)
        self.bits_speed_up: dict[str, dict[str, float]] = {}

    def loss(self, combination: Combination) -> float:
        """On the text of the search."""
        return self._subject.search_loss(combination)

    def predicted(self, combination: Combination) -> Speeds:
        """By arithmetic, times what the bits were measured to buy."""
        found = self._predictor.speed_up(self._subject.plan(combination).after)
        factors = self._of_bits(combination.bits)
        return {phase: value * factors.get(phase, 1.0) for phase, value in found.items()}

    def measured(self, combination: Combination) -> Mapping[str, Median]:
        """In turns with the dense model, at the first batch size."""
        return self.speed_ups(self.cost(combination, self._spec))

    def cost(self, combination: Combination, spec: CostSpec) -> CostReport:
        """Everything of one combination."""
        name, dense = combination.name, self._subject.model
        models = {name: self._subject.build(combination)}
        return costs(models, spec, dense=dense, progress=self._progress)[name]

    def speed_ups(self, report: CostReport) -> dict[str, Median]:
        """By phase, at the first batch size."""
        found = {}
        for phase in ("prefill", "decode"):
            speed_up = report.phase(phase).speed_up(self._clock)
            assert speed_up is not None  # it was measured beside the dense model
            found[phase] = speed_up
        return found

    def _of_bits(self, bits: int) -> dict[str, float]:
        if bits == 32:
            return {}
        if str(bits) not in self.bits_speed_up:
            found = self.measured(Combination.model_validate({"bits": bits}))
            self.bits_speed_up[str(bits)] = {phase: one.median for phase, one in found.items()}
        return self.bits_speed_up[str(bits)]


def find_target(
    subject: Subject,
    target: TargetSpec,
    spec: CostSpec,
    folder: Path | None,
    tokenizer: PreTrainedTokenizerBase | None,
    progress: Progress,
) -> TargetPart:
    """Search, measure the best once more with everything, and export it.

    Args:
        subject: The dense model with its text.
        target: What to reach.
        spec: How it is timed.
        folder: Where plan and model are written to, in a folder `best`; None writes nothing.
        tokenizer: Of the model; None for random weights.
        progress: Who is told, see `costs`.
    """
    meter = ModelMeter(subject, spec, progress)
    structure = subject.structure
    num_units = {
        "head": structure.num_heads,
        "kv_group": structure.num_kv_heads,
        "neuron": structure.intermediate_size,
        "layer": structure.num_layers,
    }
    found = search(meter, space_of(num_units, target), target, progress)
    timed = {one.tried.combination.name: one for one in found.measured}
    looks = tuple(_look(one, timed.get(one.combination.name)) for one in found.tried)
    part = TargetPart(
        measure=subject.measure,
        looks=looks,
        best=None,
        quality=None,
        cost=None,
        bits_speed_up=meter.bits_speed_up,
    )
    if found.best is None:
        return part
    best = found.best.tried.combination
    exported = None if folder is None else _export(subject, best, folder / "best", tokenizer)
    return part.model_copy(
        update={
            "best": _look(found.best.tried, found.best),
            "quality": loss_of(subject, best),
            "cost": meter.cost(best, spec),
            "exported": exported,
        }
    )


def loss_of(subject: Subject, combination: Combination) -> Loss:
    """Quality of a combination on text that no choice has seen."""
    found = subject.quality(subject.build(combination))
    return Loss(
        measure=found.measure,
        nats=found.nats,
        loss=found.loss.value,
        low=found.loss.low,
        high=found.loss.high,
    )


def _export(
    subject: Subject,
    combination: Combination,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None,
) -> str:
    """Write the plan, and the model that it leaves."""
    create_folder(folder)
    write_atomically(folder / "plan.json", subject.plan(combination).model_dump_json(indent=1))
    save(subject.build(combination), tokenizer or byte_tokenizer(), folder / "model")
    return str(folder)


def _look(tried: Tried, timed: Measured | None) -> Look:
    return Look(
        combination=tried.combination,
        loss=tried.loss,
        predicted=tried.predicted,
        measured=None if timed is None else timed.speed_up,
        reaches=timed is not None and timed.reaches,
    )
